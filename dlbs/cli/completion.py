"""Shell completion: scripts for bash, zsh and fish, and the words that complete a command line.

click completes verbs, options and choices. Its scripts are replaced, because bash splits words at `=`, and click does not support values that are
attached to a short option (`-Pexp.mo`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from click.shell_completion import CompletionItem, ShellComplete, add_completion_class, split_arg_string

from dlbs.config.load import load_config
from dlbs.core.text import text


def completions(what: str, incomplete: str) -> list[CompletionItem]:
    """Complete a separate word.

    Args:
        what: `file`, which the shell completes; `parameter`, for the value of -P or -V; `pack`, the last of several names separated by
            commas; `help`, what `dlbs help` describes.
        incomplete: The word so far.
    """
    if what == "file":
        return [CompletionItem(incomplete, type="file")]
    if what == "parameter":
        words = _parameter_words(incomplete)
    elif what == "pack":
        before = incomplete[: incomplete.rfind(",") + 1]
        words = [before + name for name in _beginning(_packs(), incomplete[len(before) :])]
    else:
        from dlbs.results.keys import known_keys

        words = _beginning(dict.fromkeys([*load_config().declarations, *known_keys(), *_models()]), incomplete)
    return [CompletionItem(word) for word in words]


def _beginning(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def _parameter_words(incomplete: str) -> list[str]:
    """Complete `NAME=`, or, after the equals sign, `NAME=VALUE`; of a list in brackets, the last element."""
    name, equals, value = incomplete.partition("=")
    if not equals:
        return _beginning((f"{one}=" for one in load_config().declarations), name)
    begin = re.match(r"(\[(?:.*,)?)?", value)
    assert begin is not None  # it may be empty
    return [f"{name}={begin[0]}{one}" for one in _beginning(_values(name), value[begin.end() :])]


def _values(name: str) -> list[str]:
    """The allowed values of a parameter, where they are known."""
    if name == "exp.model":
        return _models()
    if name == "exp.pack":
        return _packs()
    if name == "exp.framework":
        from dlbs.plan.explain import framework_launchers

        return list(framework_launchers(load_config()))
    parameter = load_config().declarations.get(name)
    if parameter is None:
        return []
    if parameter.domain is not None:
        return [text(value) for value in parameter.domain]
    return ["true", "false"] if parameter.type == "bool" else []


def _models() -> list[str]:
    from dlbs.config.names import known_models

    return list(known_models())


def _packs() -> list[str]:
    from dlbs.packs.definition import find_packs

    return list(find_packs(problems=[]))  # the command itself reports malformed packs


# dlbs gets the line up to the cursor; each line of its output is: plain or file, tab, the whole word.
_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' line kind word typed=${COMP_LINE:0:COMP_POINT}
    typed=${typed##* }
    COMPREPLY=()
    while IFS=$'\\t' read -r kind word; do
        if [[ -z $kind ]]; then
            continue
        elif [[ $kind == file ]]; then
            compopt -o default
        else
            [[ $word == *= ]] && compopt -o nospace
            # Readline replaces only what follows the last "=".
            [[ $typed == *=* && $COMP_WORDBREAKS == *=* ]] && word=${word#"${typed%%=*}="}
            COMPREPLY+=("$word")
        fi
    done < <(env COMP_WORDS="${COMP_LINE:0:COMP_POINT}" %(complete_var)s=bash_complete "$1")
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_ZSH = """\
#compdef %(prog_name)s
%(complete_func)s() {
    local kind word
    local -a open closed
    while IFS=$'\\t' read -r kind word; do
        if [[ -z $kind ]]; then
            continue
        elif [[ $kind == file ]]; then
            _files
        elif [[ $word == *= ]]; then
            open+=("$word")
        else
            closed+=("$word")
        fi
    done < <(env COMP_WORDS="${(j: :)words[1,CURRENT]}" %(complete_var)s=zsh_complete ${words[1]})
    (( ${#open} )) && compadd -U -S '' -a open
    (( ${#closed} )) && compadd -U -a closed
    return 0
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

_FISH = """\
function %(complete_func)s
    for line in (env COMP_WORDS=(commandline -cp | string collect) %(complete_var)s=fish_complete (commandline -cpo)[1])
        set -l parts (string split -m 1 \\t -- $line)
        if test "$parts[1]" = file
            __fish_complete_path (commandline -ct)
        else if test -n "$parts[2]"
            echo $parts[2]
        end
    end
end
complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


class _Shell(ShellComplete):
    """Common part of the three shells: they pass the line up to the cursor."""

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)[1:]
        incomplete = words.pop() if words and not line[-1:].isspace() else ""
        return words, incomplete

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        if "--" in args:
            return []
        attached = re.fullmatch(r"(-[PV])(.*)", incomplete, re.DOTALL)
        if attached:
            return [CompletionItem(attached[1] + word) for word in _parameter_words(attached[2])]
        return super().get_completions(args, incomplete)

    def format_completion(self, item: CompletionItem) -> str:
        return f"{'file' if item.type in {'file', 'dir'} else 'plain'}\t{item.value}"


class _Bash(_Shell):
    name, source_template = "bash", _BASH


class _Zsh(_Shell):
    name, source_template = "zsh", _ZSH


class _Fish(_Shell):
    name, source_template = "fish", _FISH


def register() -> None:
    """Register these classes with click."""
    for one in (_Bash, _Zsh, _Fish):
        add_completion_class(one)
