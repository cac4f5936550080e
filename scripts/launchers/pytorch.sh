{% extends "base.sh" %}
{# The launcher of benchmarks (exp.framework=pytorch) and of trainings (exp.framework=train). #}
{% set training = exp.framework == "train" %}
{% set program = pytorch.bench_path ~ "/pytorch_benchmarks/" ~ ("train.py" if training else "benchmarks.py") %}
{% set options = train.args if training else pytorch.args %}
{% block environment %}
{% if not exp.docker %}
export PYTHONPATH={{ pytorch.bench_path }}{% if pytorch.host_python_path %}:{{ pytorch.host_python_path }}{% endif %}${PYTHONPATH:+:$PYTHONPATH}
{% if pytorch.host_libpath %}
export LD_LIBRARY_PATH={{ pytorch.host_libpath }}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
{% endif %}
{% endif %}
{% endblock %}
{% block benchmark %}
{% if exp.num_nodes > 1 %}
{# One torchrun on each node of the job; they meet at its first node. #}
{% set meet = ["--rdzv-backend=c10d", "--rdzv-id=" ~ exp.id, "--nnodes=" ~ exp.num_nodes, "--nproc-per-node=" ~ exp.num_local_replicas] %}
meeting_point=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1):$((20000 + SLURM_JOB_ID % 20000))
{{ ["srun", "--kill-on-bad-exit=1"] | words }} {{ runtime.launcher | words }} {{ [runtime.python, "-m", "torch.distributed.run"] | words }} --rdzv-endpoint="$meeting_point" {{ meet | words }} {{ program }} {{ options | words }}
{% else %}
{% set command = runtime.launcher + [runtime.python, program] + options %}
{% if exp.docker %}
{% set image = exp.docker_image or (train if training else pytorch).docker_image %}
{% set arguments = ["--workdir", "/workspace"] + pytorch.docker_args %}
{% if training %}
{% set output = train.output_dir if train.output_dir.startswith("/") else directory ~ "/" ~ train.output_dir %}
{{ ["mkdir", "-p", output] | words }}
{% set arguments = arguments + ["--volume=" ~ output ~ ":/workspace/output"] %}
{% endif %}
{% include "docker_run.sh" %}
{% else %}
{{ command | words }}
{% endif %}
{% endif %}
{% endblock %}
