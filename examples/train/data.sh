set -e
make="python $(python -c 'from dlbs.core.files import dlbs_root; print(dlbs_root())')/python/pytorch_benchmarks/data/make_dataset.py"
options="--num_classes 4 --height 40 --width 40 --channels 1 --format png --by_class true"
$make image_folder set/train --num_images 400 $options
$make image_folder set/val --num_images 103 --first 10000 $options
