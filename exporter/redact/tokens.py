"""The forms of tokens that are recognizable by themselves, as data. New ones are rows here.

The forms are those that the vendors document or that scanners of secrets agree on; a test compares them with
detect-secrets. No rule looks for randomness: a commit id, a digest and a cache key look as random as a
password.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class TokenShape(NamedTuple):
    """A kind of token that is recognizable by its form."""

    hints: tuple[str, ...]
    """A text without any of these pieces has no such token: so the usual case is cheap."""
    pattern: re.Pattern[str]


def _token(hints: str, pattern: str) -> TokenShape:
    """Make the shape of a token that doesn't begin within a word; `hints` are separated by blanks."""
    return TokenShape(tuple(hints.split()), re.compile(rf"(?<![A-Za-z0-9])(?:{pattern})"))


def _behind(place: str, pattern: str) -> TokenShape:
    """Make the shape of the part of a URL that is its password: it stands behind `place`."""
    return TokenShape((place,), re.compile(rf"(?<={re.escape(place)}){pattern}"))


_UUID = "[a-f0-9]{8}(?:-[a-f0-9]{4}){3}-[a-f0-9]{12}"
_SECRET_PATHS = (
    *("/bot/v2/hook/", "/with/key/", "api.day.app/", "netlify.com/build_hooks/", ".alchemy.com/v2/"),
    *("hc-ping.com/", "cronitor.link/p/", "betterstack.com/api/v1/heartbeat/", "pagerduty.com/integration/"),
    *(".loggly.com/inputs/", "/receiver/v1/http/", ".infura.io/v3/"),
)
"""Parts of URLs behind which a word of 16 characters or more is a key."""

TOKEN_SHAPES = (
    # forges and package registries
    _token("ghp_ gho_ ghu_ ghs_ ghr_", r"gh[pousr]_[A-Za-z0-9]{20,}"),
    _token("github_pat_", r"github_pat_\w{20,}"),
    _token(
        "glpat- glptt- gldt- glrt- glcbt- glft- glsoat- glagent- gloas- glimt-",
        r"gl(?:pat|ptt|dt|rt|cbt|ft|soat|agent|oas|imt)-[\w.-]{16,}",
    ),
    _token("ATATT3x ATCTT3x ATBB", r"(?:ATATT3x|ATCTT3x|ATBB)[\w=-]{20,}"),
    _token("npm_", r"npm_[A-Za-z0-9]{30,}"),
    _token("pypi-AgE", r"pypi-AgE[\w-]{16,}"),
    _token("rubygems_", r"rubygems_[a-f0-9]{40,}"),
    _token("oy2", r"oy2[A-Za-z0-9]{43}(?![A-Za-z0-9])"),
    _token("cio", r"cio[A-Za-z0-9]{32}(?![A-Za-z0-9])"),
    _token("AKC", r"AKC[A-Za-z0-9]{60,}"),
    _token("dckr_", r"dckr_(?:pat|oat)_[\w-]{20,}"),
    _token("AstraCS:", r"AstraCS:\w{20,}:[a-f0-9]{60,}"),
    # CI and deployment
    _token("CCIPAT_ CCIPRJ_", r"CCIP(?:AT|RJ)_\w{20,}"),
    _token("bkua_", r"bkua_[a-f0-9]{40,}"),
    _token("pul-", r"pul-[a-f0-9]{40}(?![A-Za-z0-9])"),
    _token(".atlasv1.", r"[A-Za-z0-9]{14}\.atlasv1\.[\w=-]{60,}"),
    _token("dp.pt. dp.st. dp.ct.", r"dp\.(?:pt|st|ct)\.[\w.-]{40,}"),
    _token("SWMTKN-", r"SWMTKN-1-[a-z0-9A-Z]{40,}-[a-z0-9A-Z]{20,}"),
    _token("fm1_ fm2_", r"fm[12][ar]?_[\w+/=,-]{40,}"),
    _token("nfp_ nfc_", r"nf[pc]_[A-Za-z0-9]{30,}"),
    _token("vercel_blob_rw_", r"vercel_blob_rw_\w{30,}"),
    _token("sbp_", r"sbp_[a-f0-9]{40}"),
    _token("tskey-", r"tskey-[a-z]+-[\w-]{10,}"),
    _token("hvs. hvb.", r"hv[sb]\.[\w-]{20,}"),
    _token("AGE-SECRET-KEY-", r"AGE-SECRET-KEY-1[A-Z0-9]{40,}"),
    # clouds
    _token("AKIA ASIA ABIA ACCA", r"A(?:KI|SI|BI|CC)A[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _token("AIza", r"AIza[\w-]{35,}"),
    _token("ya29.", r"ya29\.[\w-]{20,}"),
    _token("GOCSPX-", r"GOCSPX-[\w-]{20,}"),
    _token("do_v1_ doo_v1_ dop_v1_ dor_v1_", r"do[opr]_v1_[a-f0-9]{40,}"),
    _token("dapi", r"dapi[a-f0-9]{32}(?![A-Za-z0-9])"),
    # chat and mail
    _token("xox xapp-", r"(?:xox[abeoprs]|xapp)-[A-Za-z0-9-]{10,}"),
    _behind("hooks.slack.com/", r"(?:services|workflows|triggers)/[\w/]{16,}"),
    _behind("api/webhooks/", r"\d{5,}/[\w-]{20,}"),
    _behind("discord://", r"\d{5,}/[\w-]{20,}"),
    _behind("slack://", r"T\w{6,}/[A-Z]\w{6,}/[\w-]{16,}"),
    _behind("pover://", r"\w{1,32}@[\w-]{16,}"),
    _behind("tgram://", r"\d{8,10}:[\w-]{30,}"),
    _behind("/webhookb2/", r"[\w@/-]{36,}"),
    _behind("/bot", r"\d{6,12}:[\w-]{30,}"),
    _token(":AA", r"\d{8,10}:AA[\w-]{33,}"),
    _token("M N O", r"[MNO][\w-]{23,25}\.[\w-]{6}\.[\w-]{27,38}(?![\w-])"),
    _token("SG.", r"SG\.[\w-]{16,}\.[\w-]{16,}"),
    _token("AC SK", r"(?:AC|SK)[a-z0-9]{32}(?![A-Za-z0-9])(?::[a-f0-9]{32})?"),
    _token("-us", r"[0-9a-z]{32}-us[0-9]{1,2}(?![A-Za-z0-9])"),
    _token("key-", r"(?<![\w-])key-[a-f0-9]{32}(?![A-Za-z0-9])"),
    _token("xkeysib-", r"xkeysib-[a-f0-9]{64}-[A-Za-z0-9]{16}"),
    # other URLs that are their own password
    *(_behind(place, r"[\w=+-]{16,}") for place in _SECRET_PATHS),
    *(_behind(place, _UUID) for place in ("/webhook/", "/webhooks/", "/deploy_hooks/", "/20131114/alert/")),
    _behind("/hooks/", r"(?:[a-z0-9]{26}(?![\w.-])|\w{17,24}/\w{40,})"),
    _behind("zapier.com/hooks/catch/", r"\d+/[\w-]{6,}"),
    _behind("vercel.com/v1/integrations/deploy/", r"\w+/[\w-]{8,}"),
    _behind(".make.com/", r"[a-z0-9]{24,}(?![\w-])"),
    _behind("/api/push/", r"(?=[A-Za-z]*\d)[A-Za-z0-9]{10,}(?![\w-])"),
    # payment
    _token("k_live_ k_test_ whsec_", r"(?:[rsp]k_(?:live|test)|whsec)_[A-Za-z0-9]{10,}"),
    _token("sq0csp- sq0atp- sq0idp-", r"sq0(?:csp|atp|idp)-[\w-]{20,}"),
    _token("EAAA", r"EAAA[\w-]{60}(?![A-Za-z0-9])"),
    _token("shippo_", r"shippo_(?:live|test)_[a-f0-9]{40}"),
    _token("EZAK EZTK", r"EZ[AT]K[A-Za-z0-9]{54}"),
    _token("shpat_ shpss_ shpca_ shppa_", r"shp(?:at|ss|ca|pa)_[a-fA-F0-9]{32,}"),
    # observability and work
    _token("glsa_", r"glsa_\w{30,}"),
    _token("glc_", r"glc_[A-Za-z0-9+/=]{32,}"),
    _token("sntrys_ sntryu_", r"sntry[su]_[\w+/=]{60,}"),
    _token("NRAK-", r"NRAK-[A-Z0-9]{27}"),
    _token("dt0c01.", r"dt0c01\.[A-Z0-9]{24}\.[A-Z0-9]{64}"),
    _token("PMAK-", r"PMAK-[a-f0-9]{24}-[a-f0-9]{34}"),
    _token("lin_api_", r"lin_api_[A-Za-z0-9]{40}"),
    _token("figd_", r"figd_[\w-]{40,}"),
    _token("secret_ ntn_", r"(?:secret_[A-Za-z0-9]{43}|ntn_[A-Za-z0-9]{46})(?![A-Za-z0-9])"),
    _token("rdme_", r"rdme_[a-zA-Z0-9]{70}"),
    # models
    _token("sk-", r"sk-(?:(?:ant|proj|svcacct|admin|or)-[\w-]{16,}|[A-Za-z0-9]{20,})"),
    _token("hf_", r"hf_[A-Za-z0-9]{30,}"),
    _token("gsk_", r"gsk_[A-Za-z0-9]{40,}"),
    _token("r8_", r"r8_[A-Za-z0-9]{37}(?![A-Za-z0-9])"),
    _token("pplx-", r"pplx-[A-Za-z0-9]{40,}"),
    _token("xai-", r"xai-[A-Za-z0-9]{70,}"),
    # JSON Web Tokens, whoever issues them
    _token("eyJ", r"eyJ[\w-]{8,1024}\.eyJ[\w-]{8,}\.[\w-]*"),
)
"""All shapes; texts are searched for the hints first."""
