{% extends "base.sh" %}
{% block benchmark %}
{% set program = jax.bench_path ~ "/jax_benchmarks/benchmarks.py" %}
{% set command = runtime.launcher + [runtime.python, program] + (jax.options | arguments) + jax.args %}
{% if exp.docker %}
{% set image = exp.docker_image or jax.docker_image %}
{% set arguments = ["--workdir", "/workspace"] + jax.docker_args %}
{% include "docker_run.sh" %}
{% else %}
{{ command | words }}
{% endif %}
{% endblock %}
