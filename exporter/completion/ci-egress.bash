# shellcheck shell=bash
# Completion of ci-egress in bash, by bash-completion's loader or by `source`.

_ci_egress() {
    local index type value
    COMPREPLY=()
    for ((index = 1; index < COMP_CWORD; index++)); do
        if [[ ${COMP_WORDS[index]} == -- ]]; then
            _ci_egress_command $((index + 1))
            return
        fi
    done
    while IFS=, read -r type value; do
        case $type in
        dir) compopt -o dirnames ;;
        file) compopt -o default ;;
        command) _ci_egress_command "$COMP_CWORD" ;;
        plain) COMPREPLY+=("$value") ;;
        esac
    done < <(
        IFS=$'\n'
        env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" "$1" completion bash --answer 2>/dev/null
    )
}

# What is traced begins at word $1, and has a completion of its own.
_ci_egress_command() {
    if declare -F _command_offset >/dev/null; then
        _command_offset "$1"
    elif ((COMP_CWORD == $1)); then
        mapfile -t COMPREPLY < <(compgen -A command -- "${COMP_WORDS[COMP_CWORD]}")
    else
        compopt -o default
    fi
}

complete -o nosort -F _ci_egress ci-egress
