"""Secrets by their shape, and what only looks like one."""

from __future__ import annotations

import pytest

from lading.folders.secrets import secret_file, secrets_in

BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEA"
FOUR = "a1B2c3D4"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f"-----BEGIN PRIVATE KEY-----\n{BODY}\n", "a private key"),
        (f"-----BEGIN RSA PRIVATE KEY-----\r\n{BODY}\r\n", "a private key"),
        (
            f"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-1,0\n\n{BODY}",
            "a private key",
        ),
        (f'{{"private_key": "-----BEGIN PRIVATE KEY-----\\n{BODY}\\n"}}', "a private key"),
        (f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{BODY}", "a private key"),
        ("key = AKIA" + "Z7Q2W9E4R8T3Y6U1", "an access key of AWS"),
        ("ghp_" + FOUR * 4 + "WXYZ", "a token of GitHub"),
        ("github_pat_" + FOUR * 9, "a token of GitHub"),
        ("glpat-" + FOUR * 3, "a token of GitLab"),
        ("xoxb-" + FOUR * 4, "a token of Slack"),
        ("AIza" + FOUR * 4 + "qrs", "a key of Google's APIs"),
        ("sk_live_" + FOUR * 3, "a key of Stripe"),
        ("sk-ant-" + FOUR * 5, "a key of a language model's API"),
        ("hf_" + "aBcDeFgHkLmNoPqRsT" + "uVwXyZaBcDeFgHkL", "a token of Hugging Face"),
        ("npm_" + FOUR * 4 + "WXYZ", "a token of npm"),
        ("pypi-AgE" + FOUR * 7, "a token of PyPI"),
        ("dckr_pat_" + FOUR * 3, "a token of Docker Hub"),
        ("AWS_SECRET_ACCESS_KEY=" + FOUR * 5, "a secret key of AWS"),
        ('"aws_secret_access_key" : "' + FOUR * 5 + '"', "a secret key of AWS"),
        ("awsSecretKey: " + "aB1/+cD2" * 5, "a secret key of AWS"),
    ],
)
def test_shapes(text: str, kind: str) -> None:
    (secret,) = secrets_in("a.txt", f"\n\n{text}\n".encode())
    assert (secret.kind, secret.line) == (kind, 3)


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN PUBLIC KEY-----\n" + BODY,
        "-----BEGIN CERTIFICATE-----\n" + BODY,
        'if line == "-----BEGIN PRIVATE KEY-----": ...',
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_" + "x" * 36,
        "hf_your_token",
        "half_AKIA" + "Z7Q2W9E4R8T3Y6U1",
        "npm_config_registry",
        "sk-" + "a" * 8,
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "AWS_SECRET_ACCESS_KEY=$SECRET",
        "token = 'a-long-word-that-people-write'",
        "token_sha256 = 0a1b2c3d4e5f60718293a4b5c6d7e8f901234567",
        "password = os.environ['PASSWORD']",
        "max_new_tokens = 2048",
        "digest: Ab1" + FOUR * 4,
    ],
)
def test_what_is_none(text: str) -> None:
    assert secrets_in("a.txt", text.encode()) == []


@pytest.mark.parametrize(
    "text",
    [
        "API_KEY=" + FOUR * 3,
        "'clientSecret': '" + FOUR * 4 + "==',",
        "password: " + FOUR * 3,
        "AccountKey=" + FOUR * 10 + "==;",
    ],
)
def test_what_is_likely_one(text: str) -> None:
    (secret,) = secrets_in("a.txt", f"\n{text}\n".encode())
    assert (secret.line, secret.certain) == (2, False)


def test_one_of_a_kind_is_enough() -> None:
    text = ("ghp_" + FOUR * 4 + "WXYZ\n") * 3 + f"-----BEGIN EC PRIVATE KEY-----\n{BODY}\n"
    assert [(one.kind, one.line) for one in secrets_in("a", text.encode())] == [
        ("a token of GitHub", 1),
        ("a private key", 4),
    ]


def test_credentials_of_registries() -> None:
    docker = b'{"auths": {"h": {"auth": "dXNlcjpwYXNzd29yZA=="}}}'
    assert [one.kind for one in secrets_in("a/.docker/config.json", docker)] == [
        "credentials of a registry"
    ]
    assert secrets_in("config.json", docker) == []
    assert secrets_in(".npmrc", b"//h/:_authToken=${NPM_TOKEN}") == []
    assert len(secrets_in(".npmrc", b"//h/:_authToken=0123456789abcdef")) == 1


@pytest.mark.parametrize(
    "path",
    [".env", "a/.env.production", "prod.env", "id_rsa", "x/ID_ED25519", "k.p12", "k.JKS", ".netrc",
     "home/.aws/credentials", ".kube/config", ".pypirc"],
)  # fmt: skip
def test_files_whose_names_tell(path: str) -> None:
    assert secret_file(path)


@pytest.mark.parametrize(
    "path",
    [".env.example", ".env.template", "environment", "env", "id_rsa.pub", "key.pem", "config.json",
     "credentials", "jks", "p12/readme"],
)  # fmt: skip
def test_files_whose_names_do_not(path: str) -> None:
    assert secret_file(path) == ""
