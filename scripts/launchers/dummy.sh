{% extends "base.sh" %}
{% block benchmark %}
{% if dummy.seconds > 0 %}
sleep {{ dummy.seconds }} && # a signal that ends only it is no success
{% endif %}
{
    echo '__results.time__= 1.0'
    echo '__results.throughput__= '{{ exp.effective_batch * 1000 }}
    (exit {{ dummy.exit_code }})
}
{% endblock %}
