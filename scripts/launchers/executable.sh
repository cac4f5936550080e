{% extends "base.sh" %}
{% block environment %}
# The file of --exp_log_file: the current log, or standard output if this script is started manually.
log=/dev/stdout
if [ -n "${DLBS_LOG:-}" ]; then log=$DLBS_LOG.part; fi
{% endblock %}
{% block benchmark %}
{{ runtime.launcher | words }} {{ launcher }} {{ options }}
{% endblock %}
