{% extends "pytorch.sh" %}
{% block benchmark %}
{% set program = pytorch.bench_path ~ "/pytorch_benchmarks/train.py" %}
{% set options = (pytorch.common_options | arguments) + (train.options | arguments) + train.args %}
{% set image = exp.docker_image or train.docker_image %}
{% set output = train.output_dir if train.output_dir.startswith("/") else directory ~ "/" ~ train.output_dir %}
{% set mounts = ["--volume=" ~ output ~ ":/workspace/output"] %}
{% if exp.docker %}
{# Otherwise the container engine would create it as root. #}
{{ ["mkdir", "-p", output] | words }}
{% endif %}
{% include "pytorch_run.sh" %}
{% endblock %}
