# Prepare a shell, bash or zsh, from any directory: `source scripts/environment.sh`. Sourcing it again has no further effect.
#
#   DLBS_ROOT     the checkout, or the installed copy, that this file belongs to
#   PATH          with the checkout's .venv/bin, where `make venv` installs the program dlbs
#   experimenter  logparser  reporter  plotter
#                 aliases of dlbs, dlbs parse, dlbs report and dlbs plot, and variables with the paths of their files, for
#                 `python $experimenter run ...`
#
# Nothing else in the shell is changed.

_dlbs_environment() {
    local directory root package
    case $1 in
        */*) directory=${1%/*}/ ;;
        *) directory=./ ;;
    esac
    # In a subshell, which affects neither OLDPWD nor the user's hooks; CDPATH must not lead elsewhere.
    root=$(CDPATH='' && builtin cd -P -- "$directory.." >/dev/null 2>&1 && builtin pwd) || return 1
    package=$root/dlbs
    if [ ! -f "$package/experimenter.py" ]; then
        package=${root%/*} # in an installed copy this file is at dlbs/shipped/scripts
    fi
    if [ -x "$root/.venv/bin/dlbs" ]; then
        case ":${PATH:-}:" in
            *":$root/.venv/bin:"*) ;;
            *) export PATH="$root/.venv/bin${PATH:+:$PATH}" ;;
        esac
    fi
    export DLBS_ROOT="$root"
    export experimenter="$package/experimenter.py"
    export logparser="$package/logparser.py"
    export reporter="$package/report.py"
    export plotter="$package/plotter.py"
    # Single words, so that shell options do not affect them.
    alias experimenter='dlbs' logparser='dlbs parse' reporter='dlbs report' plotter='dlbs plot'
    if ! command -v dlbs >/dev/null 2>&1; then
        echo "environment.sh: there is no program dlbs yet (run 'make venv' in $root, or pip install it)" >&2
    fi
}

# Each shell has its own syntax for the current file, which the other cannot parse.
if [ -n "${BASH_VERSION:-}" ]; then
    eval '_dlbs_environment "${BASH_SOURCE[0]}"'
elif [ -n "${ZSH_VERSION:-}" ]; then
    eval '_dlbs_environment "${(%):-%x}"'
else
    echo "environment.sh: made for bash and zsh" >&2
fi
unset -f _dlbs_environment
