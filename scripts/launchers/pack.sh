{% extends "base.sh" %}
{% block benchmark %}
{% if pack.kind == "container" %}
{# A program outside starts the container for each batch under this name, so that the end of the experiment stops it too. #}
export DLBS_CONTAINER={{ container }}
{% set device = pack.device %}
{% if device < 0 and docker_gpu_names %}
{# It has these GPUs only, numbered from 0. #}
export DLBS_CONTAINER_GPUS={{ docker_gpu_names }}
{% set device = 0 %}
{% endif %}
{{ exp.docker_launcher }} image inspect --format {% raw %}'__exp.docker_image_id__= {{json .Id}}'{% endraw %} {{ exp.docker_image }}
{% set measure = ["--image", exp.docker_image, "--inputs=" ~ pack.inputs, "--model=" ~ pack.predictor, "--device=" ~ device, "--batch", exp.replica_batch] %}
{{ runtime.launcher | words }} {{ [pack.host_python, "-m", "dlbs.packs.measure", pack.definition, pack.name] | words }} {{ measure | words }} {{ ["--batches", exp.num_batches, "--warmup", exp.num_warmup_batches, "--docker", exp.docker_launcher] | words }} {{ (["--"] + pack.argv if pack.argv else []) | words }}
{% elif pack.kind == "model" %}
{% set program = pytorch.bench_path ~ "/pytorch_benchmarks/benchmarks.py" %}
{% set options = (pytorch.common_options | arguments) + (pytorch.options | arguments) + pytorch.args %}
{% set own = ["--pack=" ~ pack.dir, "--pack_args=" ~ (pack.argv | tojson), "--jit=" ~ ("true" if pack.jit else "false"), "--own_batch=" ~ ("true" if pack.own_batch else "false")] %}
{% if exp.docker %}
{% set image = exp.docker_image %}
{% set arguments = ["--workdir", "/workspace"] + pytorch.docker_args + ["--volume=" ~ pack.dir ~ ":" ~ pack.dir ~ ":ro"] %}
{% set command = runtime.launcher + ["python3", program] + own + options %}
{% include "docker_run.sh" %}
{% else %}
{{ runtime.launcher | words }} {{ [pack.python, program] | words }} {{ own | words }} {{ options | words }}
{% endif %}
{% elif pack.start %}
{# benchfile.py defines its own command. #}
export DLBS_PACK_PYTHON={{ pack.python }}
{% set ns = namespace(options=[]) %}
{% for name in pack.voir_options %}
{% set ns.options = ns.options + ["--option", name ~ "=" ~ parameters["voir." ~ name]] %}
{% endfor %}
{{ runtime.launcher | words }} {{ [pack.host_python, pack.runner ~ "/run.py", "--command"] | words }} {{ ns.options | words }} {{ ["--", pack.host_python, "-m", "dlbs.packs.start", pack.definition, pack.name, "--", "main.py"] | words }} {{ pack.argv | words }}
{% else %}
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
{% endif %}
{% endblock %}
