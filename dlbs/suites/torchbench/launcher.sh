{% extends "base.sh" %}
{% block benchmark %}
{% set loaders = pack.loader.rpartition("/")[0] %}
{% set program = pytorch.bench_path ~ "/pytorch_benchmarks/benchmarks.py" %}
{% set options = (pytorch.common_options | arguments) + (pytorch.options | arguments) + pytorch.args %}
{% set own = ["--pack=" ~ pack.dir, "--pack_loader=" ~ pack.loader, "--pack_args=" ~ (pack.argv | tojson), "--jit=" ~ ("true" if pack.jit else "false"), "--own_batch=" ~ ("true" if pack.own_batch else "false")] %}
{% if exp.docker %}
{% set image = exp.docker_image %}
{% set arguments = ["--workdir", "/workspace"] + pytorch.docker_args + ["--volume=" ~ pack.dir ~ ":" ~ pack.dir ~ ":ro", "--volume=" ~ loaders ~ ":" ~ loaders ~ ":ro"] %}
{% set command = runtime.launcher + ["python3", program] + own + options %}
{% include "docker_run.sh" %}
{% else %}
{{ runtime.launcher | words }} {{ [pack.python, program] | words }} {{ own | words }} {{ options | words }}
{% endif %}
{% endblock %}
