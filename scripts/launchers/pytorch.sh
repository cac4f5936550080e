{% extends "base.sh" %}
{% set program = pytorch.bench_path ~ "/pytorch_benchmarks/benchmarks.py" %}
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
{{ ["srun", "--kill-on-bad-exit=1"] | words }} {{ runtime.launcher | words }} {{ [runtime.python, "-m", "torch.distributed.run"] | words }} --rdzv-endpoint="$meeting_point" {{ meet | words }} {{ program }} {{ pytorch.args | words }}
{% else %}
{% set command = runtime.launcher + [runtime.python, program] + pytorch.args %}
{% if exp.docker %}
{% set image = exp.docker_image or pytorch.docker_image %}
{% set arguments = ["--workdir", "/workspace"] + pytorch.docker_args %}
{% include "docker_run.sh" %}
{% else %}
{{ command | words }}
{% endif %}
{% endif %}
{% endblock %}
