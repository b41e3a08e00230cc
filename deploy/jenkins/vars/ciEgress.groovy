// Runs a script as `sh` does, traced by ci-egress, which the agent has installed: its user is root, or may become it
// by sudo without a password.
//
//     ciEgress 'make'
//     ciEgress script: 'make', policy: 'policy.yaml', enforce: true, failOn: 'deny'
//
// Of `sh` it takes script, returnStatus, returnStdout, label and encoding. What it writes goes to ci-egress/ in the
// workspace, for archiveArtifacts.

def call(String script) {
    call(script: script)
}

def call(Map asked) {
    def known = ['script', 'returnStatus', 'returnStdout', 'label', 'encoding', 'policy', 'allowedEndpoints', 'baseline',
                 'failOn', 'enforce', 'traceUrl', 'ciEgress']
    for (name in asked.keySet()) {
        if (!(name in known)) {
            error("ciEgress: ${name} is none of ${known.join(', ')}")
        }
    }
    if (!asked.script) {
        error('ciEgress: script is missing')
    }
    def id = UUID.randomUUID().toString()
    def folder = "ci-egress/${id}"
    // A file, as `sh` makes one: a script may be long, and may name its interpreter.
    def file = "${pwd(tmp: true)}/ci-egress-${id}"
    writeFile file: file, text: asked.script
    def command = asked.script.startsWith('#!') ? [file] : ['/bin/sh', '-xe', file]
    def of_sh = [script: commandLines(asked, folder, file, command), label: asked.label ?: 'ci-egress']
    for (name in ['returnStatus', 'returnStdout', 'encoding']) {
        if (asked.containsKey(name)) {
            of_sh[name] = asked[name]
        }
    }
    return sh(of_sh)
}

private String commandLines(Map asked, String folder, String file, List command) {
    def program = asked.ciEgress ? quoted(asked.ciEgress) : ''
    def arguments = ["--otlp-dir=${folder}/otlp", "--report=${folder}/report.html", "--summary=${folder}/summary.md"]
    for (option in [['policy', asked.policy], ['allowed-endpoints', asked.allowedEndpoints],
                    ['baseline', asked.baseline], ['fail-on', asked.failOn], ['trace-url', asked.traceUrl]]) {
        if (option[1]) {
            arguments << "--${option[0]}=${option[1]}"
        }
    }
    if (asked.enforce) {
        arguments << '--enforce'
    }
    def options = quotedWords(arguments)
    def words = quotedWords(command)
    // The folder is the agent's, who can empty it, whoever writes what is in it. Under sudo the script runs as the
    // agent's user again, with all the variables that it would have. Where root's ci-egress is isn't for this job's
    // PATH to say: what a job wrote would run as root. sudo-rs ignores -E, and takes names; the other sudo gets none,
    // as it would log their values.
    return """#!/bin/sh
chmod 700 ${quoted(file)} && mkdir -p ${quoted(folder + '/otlp')} || exit 91
cannot() { echo "ciEgress: \$*" >&2; rm -f ${quoted(file)}; exit 91; }
program=${program}
status=0
if [ "\$(id -u)" = 0 ]; then
    "\${program:-ci-egress}" run ${options} -- ${words} || status=\$?
else
    for folder in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do
        [ -n "\$program" ] || [ -w "\$folder" ] || [ -O "\$folder" ] || [ ! -x "\$folder/ci-egress" ] ||
            program=\$folder/ci-egress
    done
    [ -n "\$program" ] || cannot 'root looks for ci-egress where jobs do not write, in /usr/local/bin, /usr/bin and' \\
        'the like, and none is there; link it there, or give its path, as in ciEgress:' \\
        "'\$(command -v ci-egress || echo /opt/ci-egress/.venv/bin/ci-egress)'"
    sudo=\$(command -v sudo) || cannot 'this user is neither root nor has sudo'
    own=" \$(env | LC_ALL=C sed -nE 's/^(${own().join('|')})=.*/\\1/p' | paste -sd ' ' -) "
    set --
    without=
    for name in HOME LOGNAME SHELL TERM USER; do
        case \$own in *" \$name "*) ;; *) set -- "\$@" -u "\$name" ;; esac
    done
    for name in \$own; do
        without="\$without -u \$name"
        eval "[ -z \\"\\\${\$name+set}\\" ] || set -- \\"\\\$@\\" \\"\$name=\\\$\$name\\""
    done
    keep=-E
    case \$(sudo --version) in
    sudo-rs*)
        keep=\$(env \$without | LC_ALL=C sed -nE 's/^([A-Za-z_][A-Za-z0-9_.-]*)=.*/\\1/p' | paste -sd , -)
        keep=--preserve-env=\$keep
        ;;
    esac
    env \$without PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \\
        "\$sudo" -n "\$keep" -- "\$program" run ${options} -- env "\$@" ${words} || status=\$?
fi
rm -f ${quoted(file)}
exit "\$status"
"""
}

// Names of variables that are the script's alone: root would heed them, or sudo takes or sets them.
private List own() {
    return ['PATH', 'HOME', 'LOGNAME', 'USER', 'SHELL', 'TERM', 'COLORTERM', 'SUDO_[A-Z]*', 'LANG', 'LANGUAGE',
            'LINGUAS', 'LC_[A-Z]*', 'TZ', 'CDPATH', 'GLOBIGNORE', 'ENV', 'BASH_ENV', 'BASHOPTS', 'SHELLOPTS', 'PS4',
            'FPATH', 'NULLCMD', 'READNULLCMD', 'ZDOTDIR', 'TMPPREFIX', 'TMPDIR', 'TZDIR', 'NLSPATH', 'LOCPATH',
            'PATH_LOCALE', 'GCONV_PATH', 'GETCONF_DIR', 'TERMINFO', 'TERMINFO_DIRS', 'TERMPATH', 'TERMCAP',
            'HOSTALIASES', 'LOCALDOMAIN', 'RES_OPTIONS', 'RESOLV_HOST_CONF', 'NIS_PATH', 'KRB5_CONFIG', 'KRB5_KTNAME',
            'PERL5LIB', 'PERL5OPT', 'PERL5DB', 'PERLLIB', 'PERLIO_DEBUG', 'RUBYLIB', 'RUBYOPT', 'NODE_OPTIONS',
            'NODE_PATH', 'CLASSPATH', 'JAVA_TOOL_OPTIONS', '_JAVA_OPTIONS', 'GIT_SSH_COMMAND', 'SSLKEYLOGFILE',
            'STATE_DIRECTORY', '(PYTHON|OPENSSL|LD_|_RLD|GLIBC_|MALLOC_)[A-Za-z0-9_]*']
}

private String quotedWords(List arguments) {
    def words = []
    for (argument in arguments) {
        words << quoted(argument)
    }
    return words.join(' ')
}

private String quoted(Object text) {
    return "'" + text.toString().replace("'", "'\\''") + "'"
}
