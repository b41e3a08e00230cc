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
    def program = quoted(asked.ciEgress ?: 'ci-egress')
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
    // agent's user again; its PATH is handed on, which sudo replaces. What else sudo takes away, -E or not, and what
    // Python and OpenSSL would heed, the script gets, and root doesn't.
    return """#!/bin/sh
chmod 700 ${quoted(file)} && mkdir -p ${quoted(folder + '/otlp')} || exit 91
status=0
if [ "\$(id -u)" = 0 ]; then
    ${program} run ${options} -- ${words} || status=\$?
else
    set --
    without=
    heeded=\$(env | sed -n -e 's/^\\(PYTHON[A-Za-z0-9_]*\\)=.*/\\1/p' \\
        -e 's/^\\(OPENSSL[A-Za-z0-9_]*\\)=.*/\\1/p' -e 's/^\\(SSLKEYLOGFILE\\)=.*/\\1/p')
    for name in \$heeded; do without="\$without -u \$name"; done
    for name in LD_LIBRARY_PATH LD_PRELOAD TMPDIR \$heeded PERL5LIB PERL5OPT RUBYLIB RUBYOPT \\
        JAVA_TOOL_OPTIONS BASH_ENV ENV
    do
        eval "[ -z \\"\\\${\$name+set}\\" ] || set -- \\"\\\$@\\" \\"\$name=\\\$\$name\\""
    done
    [ \$# = 0 ] || set -- env "\$@"
    sudo -n -E env \$without "PATH=\$PATH" ${program} run ${options} -- "\$@" ${words} || status=\$?
fi
rm -f ${quoted(file)}
exit "\$status"
"""
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
