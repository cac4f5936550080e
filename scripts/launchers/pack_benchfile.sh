{% extends "base.sh" %}
{% block benchmark %}
{# benchfile.py defines its own command. #}
export DLBS_PACK_PYTHON={{ pack.python }}
{% set ns = namespace(options=[]) %}
{% for name in pack.voir_options %}
{% set ns.options = ns.options + ["--option", name ~ "=" ~ parameters["voir." ~ name]] %}
{% endfor %}
{{ runtime.launcher | words }} {{ [pack.host_python, pack.runner ~ "/run.py", "--command"] | words }} {{ ns.options | words }} {{ ["--", pack.host_python, "-m", "dlbs.packs.benchfile", pack.definition, pack.name, "--", "main.py"] | words }} {{ pack.argv | words }}
{% endblock %}
