"""Secrets leave command lines; ordinary command lines stay as they are."""

from __future__ import annotations

import shlex

import pytest

from exporter.redact.command_lines import redact_arguments
from exporter.redact.names import is_secret_name
from tests.unit.redact.corpus import secret_lines

_HIDDEN = "hunter2-s3cr3t"
_PEM = "-----BEGIN OPENSSH {0}-----\nb3BlbnNzaC1rZXk\nAAAA\n-----END OPENSSH {0}-----".format("PRIVATE KEY")

# Those of the corpus that stand there alone, so that nothing but their form gives them away.
_TOKENS = [line.secrets[0] for line in secret_lines() if line.arguments == ["./upload", line.secrets[0]]]

_SECRET_COMMANDS = [
    ("deploy --token=hunter2-s3cr3t --dry-run", "deploy --token=<redacted> --dry-run"),
    ("deploy --token hunter2-s3cr3t --dry-run", "deploy --token <redacted> --dry-run"),
    ("deploy -token hunter2-s3cr3t app", "deploy -token <redacted> app"),
    ("deploy '--password=hunter2-s3cr3t and more'", "deploy --password=<redacted>"),
    ("java -Dgpg.passphrase=hunter2-s3cr3t -jar a.jar", "java -Dgpg.passphrase=<redacted> -jar a.jar"),
    ("mvn -Dsonar.login=hunter2-s3cr3t verify", "mvn -Dsonar.login=<redacted> verify"),
    ("env API_KEY=hunter2-s3cr3t make", "env API_KEY=<redacted> make"),
    ("env 'DB_PASS=hunter2-s3cr3t with spaces' make", "env DB_PASS=<redacted> make"),
    ("env PGPASSWORD=hunter2-s3cr3t psql", "env PGPASSWORD=<redacted> psql"),
    ("env MYSQL_PWD=hunter2-s3cr3t mysql", "env MYSQL_PWD=<redacted> mysql"),
    ("env AWS_SECRET_ACCESS_KEY=hunter2-s3cr3t aws s3 ls", "env AWS_SECRET_ACCESS_KEY=<redacted> aws s3 ls"),
    ("env VAULT_SECRET_ID=hunter2-s3cr3t vault", "env VAULT_SECRET_ID=<redacted> vault"),
    ("docker run -e DB_PASSWORD_PROD=hunter2-s3cr3t app", "docker run -e DB_PASSWORD_PROD=<redacted> app"),
    ("docker run -eTOKEN=hunter2-s3cr3t app", "docker run -eTOKEN=<redacted> app"),
    (
        "docker build --build-arg NPM_TOKEN=hunter2-s3cr3t .",
        "docker build --build-arg NPM_TOKEN=<redacted> .",
    ),
    ("docker login -u bob -p hunter2-s3cr3t r.example", "docker login -u bob -p <redacted> r.example"),
    ("docker login -u bob -phunter2-s3cr3t r.example", "docker login -u bob -p<redacted> r.example"),
    ("env AZURE_STORAGE_KEY=hunter2-s3cr3t DD_APP_KEY=hunter2-s3cr3t x", None),
    ("sqlcmd 'Server=x;Pwd=hunter2-s3cr3t;Timeout=3'", "sqlcmd 'Server=x;Pwd=<redacted>;Timeout=3'"),
    ("psql 'host=h.example password=hunter2-s3cr3t'", "psql 'host=h.example password=<redacted>'"),
    ("env REDIS_URL=redis://:hunter2-s3cr3t@h.example x", "env REDIS_URL=redis://<redacted>@h.example x"),
    ("helm registry login -p hunter2-s3cr3t r.example", "helm registry login -p <redacted> r.example"),
    ("helm upgrade --set auth.password=hunter2-s3cr3t", "helm upgrade --set auth.password=<redacted>"),
    (
        "kubectl create secret generic x --from-literal=password=hunter2-s3cr3t",
        "kubectl create secret generic x --from-literal=password=<redacted>",
    ),
    ("curl -u bob:hunter2-s3cr3t https://h.example", "curl -u <redacted> https://h.example"),
    ("curl -ubob:hunter2-s3cr3t https://h.example", "curl -u<redacted> https://h.example"),
    ("curl -fsSLu bob:hunter2-s3cr3t https://h.example", "curl -fsSLu <redacted> https://h.example"),
    ("curl --user=bob:hunter2-s3cr3t https://h.example", "curl --user=<redacted> https://h.example"),
    ("sudo /usr/bin/curl --user bob:hunter2-s3cr3t", "sudo /usr/bin/curl --user <redacted>"),
    ("curl -H 'Authorization: Bearer hunter2-s3cr3t'", "curl -H 'Authorization: <redacted>'"),
    ("curl -H 'X-Api-Key: hunter2-s3cr3t' x", "curl -H 'X-Api-Key: <redacted>' x"),
    ("curl '-HPRIVATE-TOKEN: hunter2-s3cr3t' x", "curl '-HPRIVATE-TOKEN: <redacted>' x"),
    ("curl --header 'Cookie: session=hunter2-s3cr3t' x", "curl --header 'Cookie: <redacted>' x"),
    ("wget '--header=JOB-TOKEN: hunter2-s3cr3t' x", "wget '--header=JOB-TOKEN: <redacted>' x"),
    ("wget --http-password hunter2-s3cr3t x", "wget --http-password <redacted> x"),
    ("http GET h.example X-Auth-Token:hunter2-s3cr3t", "http GET h.example X-Auth-Token:<redacted>"),
    (
        'curl -d \'{"user": "bob", "password": "hunter2-s3cr3t"}\' x',
        'curl -d \'{"user": "bob", "password": "<redacted>"}\' x',
    ),
    ("curl 'https://h.example/?a=1&access_token=hunter2-s3cr3t&b=2'", None),
    (
        "git clone https://bob:hunter2-s3cr3t@git.example/a.git",
        "git clone https://<redacted>@git.example/a.git",
    ),
    ("git clone https://hunter2-s3cr3t@git.example/a.git", "git clone https://<redacted>@git.example/a.git"),
    ("git clone https://bob:hunter2-s3cr3t/x@git.example/a", "git clone https://<redacted>@git.example/a"),
    ("psql postgres://bob:hunter2-s3cr3t@db.example/app", "psql postgres://<redacted>@db.example/app"),
    (
        "git -c 'http.extraheader=AUTHORIZATION: basic hunter2-s3cr3t' fetch",
        "git -c 'http.extraheader=AUTHORIZATION: <redacted>' fetch",
    ),
    (
        "npm config set //registry.example/:_authToken hunter2-s3cr3t",
        "npm config set //registry.example/:_authToken <redacted>",
    ),
    ("npm publish --//registry.example/:_authToken=hunter2-s3cr3t", None),
    (
        "aws configure set aws_secret_access_key hunter2-s3cr3t",
        "aws configure set aws_secret_access_key <redacted>",
    ),
    ("mysql -uroot -phunter2-s3cr3t app", "mysql -uroot -p<redacted> app"),
    ("sshpass -p hunter2-s3cr3t ssh -p 22 h.example", "sshpass -p <redacted> ssh -p 22 h.example"),
    ("sshpass -phunter2-s3cr3t ssh h.example", "sshpass -p<redacted> ssh h.example"),
    ("redis-cli -a hunter2-s3cr3t ping", "redis-cli -a <redacted> ping"),
    ("zip -P hunter2-s3cr3t a.zip a", "zip -P <redacted> a.zip a"),
    ("openssl rsa -passin pass:hunter2-s3cr3t -in k", "openssl rsa -passin <redacted> -in k"),
    ("keytool -storepass hunter2-s3cr3t -list", "keytool -storepass <redacted> -list"),
    ("twine upload -u __token__ -p hunter2-s3cr3t", "twine upload -u __token__ -p <redacted>"),
    ("az storage 'Server=x;AccountKey=hunter2-s3cr3t;Suffix=y'", None),
    ("sh -c 'TOKEN=hunter2-s3cr3t make build'", "sh -c 'TOKEN=<redacted> make build'"),
    ("sh -c 'deploy --password hunter2-s3cr3t && ls'", "sh -c 'deploy --password <redacted> && ls'"),
    ("bash -ec 'export TOKEN=\"hunter2-s3cr3t x\"\nmake'", "bash -ec 'export TOKEN=\"<redacted>\"\nmake'"),
    ("sh -c 'mysql -phunter2-s3cr3t | grep x'", "sh -c 'mysql -p<redacted> | grep x'"),
    (
        "sh -c 'bash -c \"curl -u bob:hunter2-s3cr3t x\"; ls'",
        "sh -c 'bash -c \"curl -u <redacted> x\"; ls'",
    ),
    ("ssh h.example 'TOKEN=hunter2-s3cr3t ./run'", None),
    # by place, by order, behind a letter
    ("redis-cli -h h AUTH bob hunter2-s3cr3t", None),
    ("rclone config password r pass hunter2-s3cr3t", None),
    ("pulumi config set --secret x hunter2-s3cr3t", "pulumi config set --secret x <redacted>"),
    ("pulumi config set x hunter2-s3cr3t --secret", "pulumi config set x <redacted> --secret"),
    (
        "aws ssm put-parameter --value hunter2-s3cr3t --name /a --type SecureString",
        "aws ssm put-parameter --value <redacted> --name /a --type SecureString",
    ),
    ("vault token lookup hunter2-s3cr3t", "vault token lookup <redacted>"),
    ("vault token renew -increment=1h hunter2-s3cr3t", "vault token renew -increment=1h <redacted>"),
    ("vault token revoke hunter2-s3cr3t", "vault token revoke <redacted>"),
    ("cosign login -u ci -p hunter2-s3cr3t r.example", "cosign login -u ci -p <redacted> r.example"),
    ("curl -H 'Fastly-Key: hunter2-s3cr3t' x", "curl -H 'Fastly-Key: <redacted>' x"),
    ("mysql -e \"CREATE USER x IDENTIFIED WITH y BY 'hunter2-s3cr3t'\"", None),
    ("openssl dgst -macopt hexkey:hunter2-s3cr3t f", "openssl dgst -macopt hexkey:<redacted> f"),
    ("npx vsce publish -p hunter2-s3cr3t", "npx vsce publish -p <redacted>"),
    ("mosquitto_pub -u u -P hunter2-s3cr3t -t t", "mosquitto_pub -u u -P <redacted> -t t"),
    ("jq --arg user u --arg token hunter2-s3cr3t .", "jq --arg user u --arg token <redacted> ."),
    # options behind a name, options between the words of a place
    ("make deploy ARGS='--token hunter2-s3cr3t'", "make deploy 'ARGS=--token <redacted>'"),
    ("./gradlew run --args='--token hunter2-s3cr3t -v'", "./gradlew run '--args=--token <redacted> -v'"),
    ("sh -c 'ARGS=\"-v --token hunter2-s3cr3t\" make'", "sh -c 'ARGS=\"-v --token <redacted>\" make'"),
    ("rabbitmqctl add_user -n r@h bob hunter2-s3cr3t", "rabbitmqctl add_user -n r@h bob <redacted>"),
    ("rabbitmqctl add_user --quiet bob hunter2-s3cr3t", "rabbitmqctl add_user --quiet bob <redacted>"),
    ("mc alias set --path auto m https://m A hunter2-s3cr3t", None),
    ("wkhtmltopdf --cookie a hunter2-s3cr3t b.pdf", None),
    # settings within a longer text
    ("dbt run --vars '{pw: hunter2-s3cr3t, a: b}'", "dbt run --vars '{pw: <redacted>, a: b}'"),
    ("sh -c 'echo \"pw = hunter2-s3cr3t\" >> f'", "sh -c 'echo \"pw = <redacted>\" >> f'"),
    ("sh -c 'cat > f <<E\n  pw: hunter2-s3cr3t\nE'", "sh -c 'cat > f <<E\n  pw: <redacted>\nE'"),
    ("sh -c 'passwd bob <<E\nhunter2-s3cr3t\nE\nls'", "sh -c 'passwd bob <<E\n<redacted>\nE\nls'"),
    ("sh -c 'printf \"a = b\\npw = hunter2-s3cr3t\\n\"'", "sh -c 'printf \"a = b\\npw = <redacted>\\n\"'"),
    ("sh -c '(echo hunter2-s3cr3t; echo hunter2-s3cr3t) | passwd bob'", None),
    ("sh -c 'echo hunter2-s3cr3t | gh secret set A'", "sh -c 'echo <redacted> | gh secret set A'"),
    # of a program that has no row
    ("unheard -u bob -h h.example -p hunter2-s3cr3t", "unheard -u bob -h h.example -p <redacted>"),
    ("unheard --user bob:hunter2-s3cr3t x", "unheard --user bob:<redacted> x"),
    ("unheard set-password bob hunter2-s3cr3t", "unheard set-password bob <redacted>"),
    ("unheard login bob hunter2-s3cr3t", "unheard login bob <redacted>"),
    ("unheard --on root:hunter2-s3cr3t@db.example:3306", "unheard --on root:<redacted>@db.example:3306"),
    ("sh -c 'echo hunter2-s3cr3t | sudo -S ls'", "sh -c 'echo <redacted> | sudo -S ls'"),
    ("sh -c 'chpasswd <<< bob:hunter2-s3cr3t'", "sh -c 'chpasswd <<< <redacted>'"),
    ("sed 's/@TOKEN@/hunter2-s3cr3t/' f", "sed 's/@TOKEN@/<redacted>/' f"),
    ('python -c \'import os; os.environ["TOKEN"] = "hunter2-s3cr3t"\'', None),
]


@pytest.mark.parametrize(("command", "expected"), _SECRET_COMMANDS)
def test_a_secret_leaves_the_command_line(command: str, expected: str | None) -> None:
    redacted = redact_arguments(shlex.split(command))
    assert _HIDDEN not in " ".join(redacted)
    assert "<redacted>" in " ".join(redacted)
    if expected is not None:
        assert redacted == shlex.split(expected)


@pytest.mark.parametrize(
    "command",
    [
        "unheard -u bob -p 8080",
        "unheard -u bob -p /run/x.pid",
        "sudo -u bob -H mkdir -p dir",
        "docker run --user app:staff -p 80:80 x",
        "aws ssm put-parameter --value eu --name /a --type String",
        "pulumi config set x y",
        "jq --arg name value .",
        "unheard login h.example",
        "cat src/login/a b c",
    ],
)
def test_what_only_looks_like_it_stays(command: str) -> None:
    assert redact_arguments(shlex.split(command)) == shlex.split(command)


@pytest.mark.parametrize("token", _TOKENS)
@pytest.mark.parametrize(
    "around", ["{}", "x {} y", "--upload-to={}", "https://h.example/{}/x", '{{"a":"{}"}}', "a,{}"]
)
def test_a_token_is_known_by_its_form(token: str, around: str) -> None:
    redacted = " ".join(redact_arguments(["upload", around.format(token)]))
    assert token not in redacted
    assert token[len(token) // 2 :] not in redacted
    assert "<redacted>" in redacted


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
        "https://discord.com/api/webhooks/1234567890/XXXXXXXXXXXXXXXXXXXXXXXXXXXX",
    ],
)
def test_a_webhook_that_is_its_own_password_is_redacted(url: str) -> None:
    assert "XXXX" not in redact_arguments(["curl", url])[1]


@pytest.mark.parametrize("end", ["", " and more"])
def test_a_private_key_is_redacted(end: str) -> None:
    assert redact_arguments(["add", f"key: {_PEM}{end}"]) == ["add", f"key: <redacted>{end}"]


def test_a_private_key_that_was_cut_is_redacted_to_its_end() -> None:
    assert redact_arguments(["add", _PEM[:60]]) == ["add", "<redacted>"]


def test_no_arguments_are_no_arguments() -> None:
    assert redact_arguments([]) == []


@pytest.mark.parametrize(
    "name", ["--apiKey", "API-KEY", "apikey", "db.password", "GITHUB_TOKEN_2", "x" * 200 + "_token"]
)
def test_a_secret_name_is_known_in_any_spelling(name: str) -> None:
    assert is_secret_name(name)
