{% extends "base.sh" %}
{% block benchmark %}
{# A program outside starts the container for each batch under this name, so that the end of the experiment stops it too. #}
export DLBS_CONTAINER={{ container }}
{% set device = pack.device %}
{% if device < 0 and docker_gpu_names %}
{# It has these GPUs only, numbered from 0. #}
export DLBS_CONTAINER_GPUS={{ docker_gpu_names }}
{% set device = 0 %}
{% endif %}
{{ exp.docker_launcher }} image inspect --format {% raw %}'__exp.docker_image_id__= {{json .Id}}'{% endraw %} {{ exp.docker_image }}
{% set measure = ["--image", exp.docker_image, "--inputs=" ~ pack.inputs, "--model=" ~ pack.predictor, "--device=" ~ device, "--batch", exp.replica_batch] %}
{{ runtime.launcher | words }} {{ [pack.host_python, "-m", "dlbs.packs.containers", pack.definition, pack.name] | words }} {{ measure | words }} {{ ["--batches", exp.num_batches, "--warmup", exp.num_warmup_batches, "--docker", exp.docker_launcher] | words }} {{ (["--"] + pack.argv if pack.argv else []) | words }}
{% endblock %}
