{# Run `command` (shell words) in the container of an experiment. A template that includes this sets: image, arguments (of docker run), command. #}
{{ exp.docker_launcher }} image inspect --format {% raw %}'__exp.docker_image_id__= {{json .Id}}
__exp.docker_image_digests__= {{json .RepoDigests}}
__exp.docker_image_labels__= {{json .Config.Labels}}'{% endraw %} {{ image }}
# Remove the container of this name that a killed run may have left.
{{ exp.docker_launcher }} rm --force {{ container }} >/dev/null 2>&1
turns=()
if [ -v DLBS_TURNS ]; then turns=(--env DLBS_TURNS --volume "$DLBS_TURNS:$DLBS_TURNS"); fi
{{ exp.docker_launcher }} run --rm --name {{ container }} --user {{ user }} --env DLBS_IN_CONTAINER=1 \
    "${turns[@]}" \
{% for name, value in environment %}
    --env {{ name ~ "=" ~ value }} \
{% endfor %}
{% if not exp.network %}
    --network none \
{% endif %}
{% if exp.cpus %}
    --cpuset-cpus {{ exp.cpus }} \
{% endif %}
{% if runtime.memory %}
    --memory {{ memory }} \
{% endif %}
    {{ docker_gpus | words }} {{ arguments | words }} {{ exp.docker_args | words }} \
    {{ image }} \
{% if extended %}
{# These variables are expanded inside the container. #}
    {{ ["sh", "-c", extend ~ 'exec "$@"', "sh"] | words }} \
{% endif %}
    {{ command | words }}
