#!/usr/bin/env bash
# The launcher of one experiment, written by dlbs. `bash FILE` runs the experiment again and prints its log.
set -u
cd {{ directory }} || exit 1

# All parameters of the experiment, one log line each.
printf '%s\n' {{ parameter_lines }}

# The environment.
{% for name, value in environment %}
export {{ name | variable }}={{ value }}
{% endfor %}
{% for name, code in extended %}
export {{ name | variable }}={{ code }}
{% endfor %}
{% block environment %}
{% endblock %}

printf '__exp.start_time__= "%(%Y-%m-%dT%H:%M:%S%z)T"\n' -1
{% block benchmark %}
{% endblock %}
code=$?

# The outcome.
printf '\n__exp.end_time__= "%(%Y-%m-%dT%H:%M:%S%z)T"\n' -1
printf '__exp.exit_code__= %d\n' "$code"
if [ -n "${DLBS_LOG:-}${DLBS_NODE:-}" ]; then
    : # dlbs run writes the status, since it has more information
elif [ "$code" -eq 0 ]; then
    echo '__exp.status__= "ok"'
elif [ "$code" -eq 77 ]; then # not supported
    echo '__exp.status__= "skipped"'
else
    echo '__exp.status__= "failure"'
fi
exit "$code"
