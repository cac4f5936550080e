{% extends "base.sh" %}
{% block benchmark %}
{% set options = ["--warmup", exp.num_warmup_batches, "--batches", exp.num_batches, "--min-seconds", command.min_seconds] %}
{% set ns = namespace(options=options + (["--ignore-failure"] if command.ignore_failure else [])) %}
{% for name, helper in [("prepare", command.prepare), ("cleanup", command.cleanup)] %}
{% if helper %}
{% set ns.options = ns.options + ["--" ~ name, (helper | words) ~ ""] %}
{% endif %}
{% endfor %}
{# Each word is quoted separately, because an empty one is an argument too. #}
{% set run = runtime.launcher + [runtime.python, command.runner] + ns.options + ["--"] + (command.argv | map("sh") | list) %}
{% if exp.docker %}
{% set image = exp.docker_image %}
{% set programs = command.runner.rpartition("/")[0] %}
{% set arguments = ["--workdir", directory, "--volume=" ~ directory ~ ":" ~ directory, "--volume=" ~ programs ~ ":" ~ programs ~ ":ro"] + command.docker_args %}
{% set command = run %}
{% include "docker_run.sh" %}
{% else %}
{{ run | words }}
{% endif %}
{% endblock %}
