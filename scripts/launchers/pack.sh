{% extends "base.sh" %}
{% block benchmark %}
{% set ns = namespace(options=["--voir"] if pack.uses_voir else []) %}
{% if pack.uses_voir %}
{% if not pack.has_voirfile %}
{% set ns.options = ns.options + ["--voirfile", pack.runner ~ "/voirfile.py"] %}
{% endif %}
{% for name in pack.voir_options %}
{% set ns.options = ns.options + ["--option", name ~ "=" ~ parameters["voir." ~ name]] %}
{% endfor %}
{% if pack.batch %}
{% set ns.options = ns.options + ["--batch", pack.batch] %}
{% endif %}
{% endif %}
cd {{ pack.dir }} || exit 1
{% set command = runtime.launcher + [pack.python, pack.runner ~ "/run.py"] + ns.options + ["--", "main.py"] + pack.argv %}
{% if exp.docker %}
{% set image = exp.docker_image %}
{% set arguments = ["--workdir", pack.dir] + pack.docker_args %}
{% include "docker_run.sh" %}
{% else %}
{{ command | words }}
{% endif %}
{% endblock %}
