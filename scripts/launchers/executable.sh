{% extends "base.sh" %}
{% block environment %}
# The file for --exp_log_file: the partial log, or standard output if the launcher is run manually.
log=/dev/stdout
if [ -n "${DLBS_LOG:-}" ]; then log=$DLBS_LOG.part; fi
{% endblock %}
{% block benchmark %}
{{ runtime.launcher | words }} {{ launcher }} {{ options }}
{% endblock %}
