{% extends "base.sh" %}
{% block environment %}
{% if not exp.docker %}
export PYTHONPATH={{ pytorch.bench_path }}{% if pytorch.host_python_path %}:{{ pytorch.host_python_path }}{% endif %}${PYTHONPATH:+:$PYTHONPATH}
{% if pytorch.host_libpath %}
export LD_LIBRARY_PATH={{ pytorch.host_libpath }}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
{% endif %}
{% endif %}
{% endblock %}
{% block benchmark %}
{% set program = pytorch.bench_path ~ "/pytorch_benchmarks/benchmarks.py" %}
{% set options = (pytorch.common_options | arguments) + (pytorch.options | arguments) + pytorch.args %}
{% set image = exp.docker_image or pytorch.docker_image %}
{% set mounts = [] %}
{% include "pytorch_run.sh" %}
{% endblock %}
