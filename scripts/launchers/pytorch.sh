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
{% if exp.docker %}
{{ exp.docker_launcher }} run --rm --name {{ "dlbs-" ~ exp.id }} --workdir /workspace \
{% for name, value in environment %}
    --env {{ name ~ "=" ~ value }} \
{% endfor %}
    {{ docker_gpus | words }} {{ pytorch.docker_args | words }} {{ exp.docker_args | words }} \
    {{ exp.docker_image or pytorch.docker_image }} \
    {{ runtime.launcher | words }} {{ runtime.python }} {{ program }} {{ pytorch.args | words }}
{% else %}
{{ runtime.launcher | words }} {{ runtime.python }} {{ program }} {{ pytorch.args | words }}
{% endif %}
{% endblock %}
