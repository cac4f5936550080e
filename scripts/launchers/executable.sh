{% extends "base.sh" %}
{% block environment %}
# The file that --exp_log_file names: the log while it is being written, or standard output by hand.
log=/dev/stdout
if [ -n "${DLBS_LOG:-}" ]; then log=$DLBS_LOG.part; fi
{% endblock %}
{% block benchmark %}
{{ runtime.launcher | words }} {{ launcher }} {{ options }}
{% endblock %}
