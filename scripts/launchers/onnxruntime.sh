{% extends "base.sh" %}
{% block benchmark %}
{% set program = onnxruntime.bench_path ~ "/onnxruntime_benchmarks/benchmarks.py" %}
{% set command = runtime.launcher + [runtime.python, program] + (onnxruntime.options | arguments) + onnxruntime.args %}
{% if exp.docker %}
{% set image = exp.docker_image or onnxruntime.docker_image %}
{% set arguments = ["--workdir", "/workspace"] + onnxruntime.docker_args %}
mkdir -p {{ onnxruntime.cache_dir }} # otherwise docker would create it, writable only by root
{% include "docker_run.sh" %}
{% else %}
{{ command | words }}
{% endif %}
{% endblock %}
