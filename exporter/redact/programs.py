"""Options that hold secrets although their name doesn't say so, as data. New rules are rows here."""

from __future__ import annotations

import re

from .machines import OF_MACHINES
from .rows import (
    AFTER_COMMA,
    AFTER_PERCENT,
    AFTER_USER,
    ECHOED,
    FILE_AND_PASSWORD,
    LOGIN_AT_HOST,
    NOTHING,
    OPAQUE,
    PAIR,
    USER_AND_PASSWORD,
    USER_AND_PASSWORD_OR_TOKEN,
    option,
    words,
)

_MYSQL = """
    mysql mysqldump mysqladmin mysqlimport mysqlcheck mysqlsh mysqlpump mysqlslap mysqlshow
    mysqlbinlog mysql_upgrade mariadb mariadb-dump mariadb-admin mariadb-check mariadb-import
    mariadb-show mariadb-upgrade mariadb-binlog mariadb-slap skeema taos taosdump
"""
_MONGO = "mongo mongosh mongodump mongorestore mongoexport mongoimport mongostat mongotop mongofiles"
_LDAP = """
    ldapsearch ldapadd ldapmodify ldapdelete ldapwhoami ldapmodrdn ldapcompare ldapexop ldappasswd
    dsconf dsidm ldapvi
"""
_SNMP = """
    net-snmp-config snmpwalk snmpget snmpset snmpbulkwalk snmpbulkget snmpgetnext snmptrap snmpinform
    snmptable snmpusm snmpdf snmpstatus net-snmp-create-v3-user
"""
_REGISTRY_CLIENTS = """
    docker podman nerdctl buildah skopeo helm crane gcrane finch regctl cosign notation img ko
    harbor-cli apptainer singularity oras
"""

WRAPPED_PROGRAMS = words("ssh scp sftp rsync")
"""Programs whose name ends the rules of the program that starts them: `sshpass -p x ssh -p 22`."""
HOUSES = words("rclone knife")
"""Programs that have subcommands named like WRAPPED_PROGRAMS: these don't end their rules."""
LATE_WORDS = words("SecureString --type=SecureString --secret --secure")
"""Words that give a meaning to words before them, so that they count wherever they stand."""

CHANGES = re.compile(
    r"(?:[a-z]+:)*(?:change|set|reset)[-_:]?(?:(?:admin|user|root|account)[-_:]?)?(?:password|passwd|pass)"
)
"""Subcommands that change a password, whatever the program: `bench set-admin-password secret`."""
ASKING = frozenset({("manage.py", "changepassword"), ("django-admin", "changepassword")})
"""Programs and subcommands that match CHANGES, but prompt for the password: it is no argument."""
USER_OPTIONS = words("-u -U -user --user --username -username --login -login --email -login-name")
"""Options with a user's name as their value: after one of them, `-p` holds a password in any program."""
LOGIN_OPTIONS = words("--user --auth --credentials --creds --basic-auth --login")
"""Options whose value may be a name and a password, in any program but CONTAINER_PROGRAMS."""
CONTAINER_PROGRAMS = words("docker podman nerdctl buildah kubectl oc")
PASSWORD_OPTIONS = words("-p -P -w")
NO_PASSWORD = re.compile(
    r"[\d.,:/-]*(?:/(?:tcp|udp))?|[~.]{0,2}/.*|.*://.*|[^=]+\.(?:pid|sock|log|conf|ya?ml|json|txt)", re.DOTALL
)
"""The form of a value of `-p` that is no password, but a port, a process, a path or a URL."""
OTHER_PROGRAMS = words(
    """
    curl grep rg ag pg_dump pg_restore pg_dumpall pg_basebackup pg_isready pgbench vacuumdb createdb dropdb
    reindexdb clusterdb dropuser tcpdump dumpcap tshark
    mkdir cp install tar touch scp ssh rsync mv rm ln chmod nmap masscan git make cmake psql wget
    python python3 perl squeue scancel sinfo sacct salloc srun sbatch bjobs bsub qsub qstat ps pgrep
    pkill lsof top perf strace gdb createuser journalctl systemd-run systemctl loginctl p4 kcat
    gunicorn uwsgi mypy pytest docker-compose screen tmux nosetests phpunit patch diff read mosh
    autossh sort
    """
)
"""Programs whose `-p` is no password, even behind a user's name: `sudo -u app -H mkdir -p x`."""

SECRET_OPTIONS = (
    # values that would be taken for secrets
    option("gcloud berglas envconsul", "--secret -secret", shape=NOTHING),
    option("gcloud", "--set-secrets --update-secrets", shape=NOTHING),
    option("docker podman nerdctl buildah", "--secret --secret-add --secret-rm", shape=NOTHING),
    option("kubectl oc kustomize", "--from-file", shape=NOTHING),
    option(
        """bw cf chamber composer credstash doppler dotnet kubeadm mc ngrok nuget poetry pro rabbitmqctl sops
        sst travis""",
        """--api --backend --config --description --directory --groups --input-type --kubeconfig --method
        --node --origin --output-type --project --repo --stage --ttl --usages --vhost --working-dir
        -Source""",
        shape=NOTHING,
    ),
    option("rabbitmqctl", "-n -p", shape=NOTHING),
    option("doppler", "-p -c", shape=NOTHING),
    option("chamber", "-b", shape=NOTHING),
    option("credstash", "-k -r -t", shape=NOTHING),
    option("bw", "--passwordenv --passwordfile", shape=NOTHING),
    option("ansible-vault", "-n --name --stdin-name --vault-id --vault-password-file", shape=NOTHING),
    option("gh", "-h --hostname", shape=NOTHING),
    option("saml2aws databricks aws aws-sso gimme-aws-creds", "-p", shape=NOTHING),
    option("pulumi netlify", "--secret", is_flag=True),
    option("pulumi", "-s --stack -C --cwd", shape=NOTHING),
    option("cargo", "--registry --index --config", shape=NOTHING),
    option("isql", "-S -U -i -o -D -d", shape=NOTHING),
    option("add-user.sh", "-u -g -r -sc -dc", shape=NOTHING),
    option(
        "vault bao",
        "-mode -field -format -increment -method -path -address -ns -namespace -nonce",
        shape=NOTHING,
    ),
    option("glab", "-g --group -R --repo -s --scope", shape=NOTHING),
    option("mkpasswd", "-m --method -S --salt -R --rounds", shape=NOTHING),
    option("openssl", "-salt", shape=NOTHING),
    option("digest.sh", "-a -i -s -h", shape=NOTHING),
    option("smbclient", "-c -L -I -p -D -d -m -W -A", shape=NOTHING),
    option("radtest", "-t", shape=NOTHING),
    option("htpasswd", "-D", shape=NOTHING),
    option("ykman", "-i --issuer", shape=NOTHING),
    option("travis", "--add", shape=NOTHING),
    option("schemaspy.jar", "-p"),
    option("swift", "--auth", shape=NOTHING),
    option("code-server", "--auth", shape=NOTHING),
    option("config.sh config.cmd", "--auth", shape=NOTHING),
    option("curl", "--login-options", shape=NOTHING),
    option("softhsm2-util", "--token", shape=NOTHING),
    option("scrypt", "--passphrase", shape=re.compile(r"(?!dev:|env:|file:).+")),
    option("composer", "--auth", is_flag=True),
    option("occ", "--password-from-env", is_flag=True),
    # with subcommands that are names of programs, too
    option("az", "-p", after="sql postgres mysql vm acr container", shape=re.compile(r"(?![\w.-]+=).+")),
    # transfer
    option("curl", "-u -U", shape=USER_AND_PASSWORD, attached=True, flags="fsSLkvgiIGOJNnq#012346"),
    option("curl", "--user --proxy-user", shape=USER_AND_PASSWORD),
    option("curl", "--oauth2-bearer"),
    option("curl", "-b --cookie", shape=PAIR, flags="fsSLkv"),
    option("curl", "-E --cert --proxy-cert", shape=FILE_AND_PASSWORD, flags="fsSLkv"),
    option("curl", "--proxy --socks5 --socks5-hostname --socks4 --socks4a -x", shape=LOGIN_AT_HOST),
    option("sqlmap openfortivpn ffuf gobuster", "--cookie -b -c", shape=PAIR),
    option("openconnect", "--cookie -C"),
    option("http https xh", "-a --auth", after="bearer --auth-type=bearer --bearer"),
    option("http https xh", "-a --auth", shape=USER_AND_PASSWORD_OR_TOKEN),
    option("curlie hurl ntfy vegeta siege", "-u --user", shape=AFTER_USER),
    option("hey oha wscat websocat", "-a --auth --basic-auth", shape=AFTER_USER),
    option("ttyd gotty", "-c --credential", shape=AFTER_USER),
    option("hurl", "--variable --secret", shape=PAIR),
    option("ab", "-A -P", shape=USER_AND_PASSWORD),
    option("ab", "-C", shape=PAIR),
    option("ntfy", "-k"),
    option("govc", "-u -l", shape=AFTER_USER),
    option("transmission-remote", "-n --auth", shape=AFTER_USER),
    option("nikto", "-id", shape=AFTER_USER),
    option("sqlmap", "--auth-cred", shape=AFTER_USER),
    option("check_http", "-a -b", shape=AFTER_USER),
    option("solr", "-u --credentials -credentials", shape=AFTER_USER),
    option("coturn turnserver", "-u --user", shape=AFTER_USER),
    option("3proxy", "-u", shape=re.compile(r"(?P<kept>[^:]+:(?:CL:)?).+")),
    option("concourse", "--add-local-user", shape=AFTER_USER),
    option("monerod monero-wallet-rpc monero-wallet-cli", "--rpc-login --daemon-login", shape=AFTER_USER),
    option("etcdctl ctr", "-u --user", shape=USER_AND_PASSWORD),
    option("lftp open", "-u", shape=AFTER_COMMA),
    option("tf", "/login:", shape=AFTER_COMMA),
    option("curlftpfs", "-o", shape=re.compile(r"(?P<kept>user=[^:]*:).+")),
    option("mount mount.cifs", "-o", shape=re.compile(r"(?P<kept>.*user(?:name)?=[^,%]{0,128}%)[^,]+.*")),
    option("ncftpput ncftpget ncftpls ncftp hydra sshpass autoexpect", "-p", attached=True),
    option(
        "smbclient rpcclient pth-winexe smbget smbcacls smbcquotas smbtree winexe wmic net",
        "-U --user",
        shape=AFTER_PERCENT,
        attached=True,
    ),
    option("wbinfo", "-a --authenticate", shape=AFTER_PERCENT),
    option("smbmap crackmapexec netexec nxc evil-winrm medusa enum4linux psexec", "-p"),
    option(_SNMP, "-A -X -c"),
    option("check_snmp", "-C"),
    option("swaks sendemail sendEmail sipp", "-ap -xp"),
    option("rclone", "--b2-key"),
    option("gpg-preset-passphrase", "-P"),
    # databases
    option(_MYSQL, "-p", separate=False, attached=True),
    option(_MONGO, "-p", attached=True),
    option(
        """cqlsh cypher-shell rabbitmqadmin mydumper myloader mytop innotop hdbsql isql-fb beeline
        ycqlsh dsbulk""",
        "-p",
    ),
    option(
        "surreal schemaspy schemaspy.jar voltadmin sqlline sqlline.sh elasticsearch-users hash.sh maxctrl",
        "-p",
    ),
    option(
        "couchbase-cli cbimport cbexport cbbackupmgr cbq couchdb-dump influx maxscale-maxctrl admintools",
        "-p",
    ),
    option("influx", "-t"),
    option("cbc asadm aql asbackup asrestore asinfo monetdb mclient mssql-cli", "-P", attached=True),
    option("redis-cli redis-benchmark valkey-cli valkey-benchmark keydb-cli memtier_benchmark iredis", "-a"),
    option("redis-server valkey-server dragonfly keydb-server", "--requirepass --masterauth"),
    option("memtier_benchmark", "--authenticate"),
    option("sqlcmd bcp tsql bsqldb isql osql freebcp", "-P -Z -z", attached=True),
    option("vsql", "-w"),
    option("sequelize-auto", "-x"),
    option("stardog-admin", "-N"),
    option("sqlpackage", "/sp: /tp:"),
    option("dtexec", "/de"),
    option("gbak gsec gfix isql-fb", "-pas -pw"),
    option("ghost", "--dbpass"),
    option("impala-shell", "--ldap_password_cmd", shape=ECHOED),
    option("supabase", "-p", after="link push db start"),
    option("p4", "-P"),
    option("airflow flask superset", "-p", after="users fab"),
    option(_LDAP, "-w", attached=True),
    option("ldappasswd", "-a -s"),
    option("slappasswd eapol_test", "-s"),
    option("elasticsearch-certutil securityadmin.sh", "-kspass -tspass"),
    # registries and packages
    option("oras maturin", "-p"),
    option(_REGISTRY_CLIENTS, "-p", after="login cm-push", attached=True),
    option("reg twistcli", "-p", after="ls scan tags"),
    option("anchore-cli", "--p"),
    option(
        "oc az cf fly flyctl fly-cli conan conan2 ibmcloud cloudsmith balena conjur credhub particle om",
        "-p",
        after="login",
        attached=True,
    ),
    option("conan conan2", "-p", after="user"),
    option("podman buildah skopeo crictl", "--creds --src-creds --dest-creds", shape=USER_AND_PASSWORD),
    option("twine", "-p", attached=True),
    option("poetry uv", "-p", after="publish"),
    option("uv", "-t", after="publish"),
    option("pdm", "-P", after="publish"),
    option("hatch", "-a", after="publish"),
    option("cabal", "-p", after="upload"),
    option("stack", "--hackage-key"),
    option("nuget choco dotnet", "-k -sk", after="push delete apikey"),
    option("gem nuget choco", "-k", shape=OPAQUE),
    option("gem", "--key", after="push"),
    option("choco", "-p", after="source install upgrade"),
    option("nuget", "-p", after="source"),
    option("dotnet", "-p", after="dev-certs"),
    option("doctl", "-t", after="auth"),
    option("anaconda doctl vercel", "-t", shape=OPAQUE),
    option(
        "codecov codecovcli codecov.sh chromatic ghr conventional-github-releaser rancher tfx pushover", "-t"
    ),
    option("pushover", "-u", shape=OPAQUE),
    option("codacy-coverage-reporter", "-t", after="report"),
    option("cc-test-reporter", "-r --id", shape=OPAQUE),
    option("cypress", "-k", after="run"),
    option("expo expo-cli eas eas-cli npm-cli-login npm-cli-adduser cpan-upload", "-p"),
    option("vsce ovsx themekit", "-p"),
    option("strapi", "-p", after="admin:reset-user-password"),
    option("ntl netlify", "-a", after="deploy"),
    option("netlifyctl", "-A"),
    option("sls serverless", "-k -s", after="credentials"),
    option("serverless devspace deepsource hex", "--key", after="login report auth"),
    option("algolia honeymarker honeyvent honeytail logdna logdna-agent cloudsmith pd-send", "-k"),
    option("openai", "-k"),
    option("llm", "--value", after="keys"),
    option("wp", "--dbpass --user_pass"),
    option("mvn", "-emp -ep"),
    option("git-ftp", "-p"),
    option("git", "-p", after="ftp"),
    option("gitea forgejo", "-p", after="change-password create"),
    option("instaloader", "-p"),
    option("unity unity-editor Unity", "-serial"),
    option("conda mamba micromamba", "-c --channel", shape=re.compile(r"(?P<kept>.*/t/)[^/]+.*")),
    option("rpmsign rpm rpmbuild", "--define -D", shape=re.compile(r"(?P<kept>_gpg_passphrase\s).+")),
    *OF_MACHINES,
)
