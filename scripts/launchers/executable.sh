{% extends "base.sh" %}
{% block benchmark %}
{{ runtime.launcher | words }} {{ launcher }} {{ options | words }}
{% endblock %}
