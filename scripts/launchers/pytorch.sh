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
{% if exp.phase == "serving" %}
{% set options = (pytorch.common_options | arguments) + (pytorch.options | arguments) + (serving.options | arguments("serving_")) + pytorch.args %}
{% set kept = serving.log_dir if serving.log_dir.startswith("/") else directory ~ "/" ~ serving.log_dir %}
{% set ns = namespace(mounts=[], files=[serving.body] if serving.body else []) %}
{% for file in [serving.data, serving.tokenizer] if file %}
{% set ns.files = ns.files + [file] %}
{% endfor %}
{% if exp.docker and serving.key_variable %}
{% set ns.mounts = ns.mounts + ["--env=" ~ serving.key_variable] %}
{% endif %}
{% for lengths in [serving.prompt_tokens, serving.output_tokens] if lengths.startswith("file:") %}
{% set ns.files = ns.files + [lengths[5:]] %}
{% endfor %}
{% if exp.docker and serving.log_dir %}
{% set ns.mounts = ns.mounts + ["--volume=" ~ kept ~ ":/workspace/loadgen"] %}
{# Otherwise the container engine would create it as root. #}
{{ ["mkdir", "-p", kept] | words }}
{% endif %}
{% for file in ns.files %}
{% set ns.mounts = ns.mounts + ["--volume=" ~ file ~ ":" ~ file ~ ":ro"] %}
{% endfor %}
{% set mounts = ns.mounts %}
{% endif %}
{% include "pytorch_run.sh" %}
{% endblock %}
