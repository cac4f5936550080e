{# Run a program of pytorch_benchmarks. A template that includes this sets: program, options, image, mounts (more arguments of docker run). #}
{% if exp.num_nodes > 1 and not exp.rendezvous and not exp.nodes %}
{# Slurm: one torchrun on each node of the job, with the first node as rendezvous. #}
{% set meet = ["--rdzv-backend=c10d", "--rdzv-id=" ~ exp.id, "--nnodes=" ~ exp.num_nodes, "--nproc-per-node=" ~ exp.num_local_replicas, "--rdzv-conf=join_timeout=" ~ exp.rendezvous_timeout] %}
meeting_point=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1):$((20000 + SLURM_JOB_ID % 20000))
{{ ["srun", "--kill-on-bad-exit=1"] | words }} {{ runtime.launcher | words }} {{ [runtime.python, pytorch.bench_path ~ "/pytorch_benchmarks/torchrun.py"] | words }} --rdzv-endpoint="$meeting_point" {{ meet | words }} {{ program }} {{ options | words }}
{% else %}
{# The program starts torchrun itself, on each node on which this script runs. #}
{% set nodes = ["--num_nodes=" ~ exp.num_nodes, "--node_rank=" ~ exp.node_rank, "--rendezvous=" ~ exp.rendezvous, "--rendezvous_timeout=" ~ exp.rendezvous_timeout] if exp.num_nodes > 1 else [] %}
{% set command = runtime.launcher + [runtime.python, program] + options + nodes %}
{% if exp.docker %}
{% set arguments = ["--workdir", "/workspace"] + pytorch.docker_args + mounts %}
{% include "docker_run.sh" %}
{% else %}
{{ command | words }}
{% endif %}
{% endif %}
