"""Every reason that a ledger may give, in the order in which they apply."""

STAGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("ingest", ("malformed_row", "malformed_url", "blocked_host", "tombstoned")),
    (
        "sift",
        (
            "too_few_impressions",
            "low_ctr",
            "not_in_top_k",
            "text_filename",
            "text_too_short",
            "text_too_long",
            "text_boilerplate",
            "text_language",
            "text_pii",
            "text_sensitive",
            "text_repetitive",
        ),
    ),
    (
        "fetch",
        (
            "fetch_bad_scheme",
            "fetch_dns",
            "fetch_forbidden_address",
            "fetch_connect",
            "fetch_tls",
            "fetch_timeout",
            "fetch_redirects",
            "fetch_http_status",
            "fetch_opted_out",
            "fetch_robots",
            "fetch_too_large",
            "fetch_incomplete",
            "fetch_failed",
        ),
    ),
    (
        "look",
        (
            "image_hash_listed",
            "image_not_image",
            "image_unsupported",
            "image_bomb",
            "image_truncated",
            "image_too_small",
            "image_aspect",
            "image_blank",
            "image_blurry",
            "image_unsafe",
            "image_failed",
        ),
    ),
    ("copies", ("benchmark_overlap", "duplicate")),
    ("align", ("clip_score_low", "clip_score_high", "not_mutual", "caption_better")),
    ("select", ("not_selected",)),
    ("publish", ("not_published",)),
)

QUARANTINED = ("malformed_row", "malformed_url")
ORDER = {code: place for place, code in enumerate(code for _, codes in STAGES for code in codes)}
STAGE_OF = {code: stage for stage, codes in STAGES for code in codes}
