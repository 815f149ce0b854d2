"""The columns of every kind of part, as DuckDB writes them: what one stage leaves for the next."""

CANDIDATES = (
    "candidate_id BIGINT, source_row BIGINT, url VARCHAR, page_url VARCHAR, query VARCHAR, title VARCHAR, "
    "surrounding VARCHAR, alt VARCHAR, ts VARCHAR, impressions BIGINT, clicks BIGINT, fault VARCHAR"
)
READ_ROWS = "candidate_id BIGINT, reason VARCHAR, detail VARCHAR, host VARCHAR"
READ_TEXTS = (
    "candidate_id BIGINT, role VARCHAR, place INTEGER, raw VARCHAR, norm VARCHAR, language VARCHAR, "
    "measures VARCHAR, reason VARCHAR, detail VARCHAR, rank INTEGER, text_id BIGINT, bands BIGINT[]"
)
SIFTED = (
    "candidate_id BIGINT, source_row BIGINT, url VARCHAR, host VARCHAR, clicks BIGINT, reason VARCHAR, detail VARCHAR"
)
SIFTED_TEXTS = (
    "candidate_id BIGINT, role VARCHAR, place INTEGER, raw VARCHAR, norm VARCHAR, language VARCHAR, "
    "measures VARCHAR, reason VARCHAR, detail VARCHAR, text_id BIGINT, text_group BIGINT"
)
FETCHED = (
    "url VARCHAR, reason VARCHAR, detail VARCHAR, bytes BLOB, sha256 VARCHAR, md5 VARCHAR, nbytes BIGINT, "
    "final_url VARCHAR, content_type VARCHAR, consent VARCHAR, fetched_at TIMESTAMPTZ, attempts INTEGER"
)
LOOKED = (
    "url VARCHAR, image_id BIGINT, sha256 VARCHAR, md5 VARCHAR, reason VARCHAR, detail VARCHAR, format VARCHAR, "
    "width INTEGER, height INTEGER, nbytes BIGINT, phash BIGINT, dhash BIGINT, pdq VARCHAR, pdq_quality INTEGER, "
    "std FLOAT, mean FLOAT, entropy FLOAT, sharpness FLOAT, colours VARCHAR[], colour_shares FLOAT[], "
    "thumbnail BLOB, heads VARCHAR[], head_values FLOAT[], tags VARCHAR[], tag_probabilities FLOAT[]"
)
SEEN = (
    "image_id BIGINT, sha256 VARCHAR, area BIGINT, phash BIGINT, dhash BIGINT, pdq VARCHAR, clicks_here BIGINT, "
    "clicks BIGINT, known BOOLEAN"
)
NEAR = "image_id BIGINT, other BIGINT, distance INTEGER"
SIMILAR = "image_id BIGINT, other BIGINT, similarity FLOAT"
JOINED = (
    "image_id BIGINT, survivor BIGINT, root BIGINT, rule VARCHAR, distance INTEGER, similarity FLOAT, "
    "component BIGINT, known BOOLEAN, shown BOOLEAN, clicks BIGINT, clicks_here BIGINT, note VARCHAR, reason VARCHAR, "
    "detail VARCHAR"
)
PAIRS = (
    "image_id BIGINT, text_id BIGINT, role VARCHAR, language VARCHAR, candidate_id BIGINT, own_image BIGINT, "
    "text_group BIGINT, better_text BIGINT"
)
VECTORS = "subject_id BIGINT, model VARCHAR, vector FLOAT[]"
SCORES = "image_id BIGINT, text_id BIGINT, metric VARCHAR, model VARCHAR, value FLOAT"
JUDGED = (
    "image_id BIGINT, text_id BIGINT, role VARCHAR, candidate_id BIGINT, score FLOAT, model VARCHAR, reason VARCHAR, "
    "detail VARCHAR, better_text BIGINT"
)
CAPTIONS = (
    "image_id BIGINT, captioner VARCHAR, model VARCHAR, language VARCHAR, sample INTEGER, prompt VARCHAR, seed BIGINT, "
    "raw VARCHAR, tokens INTEGER, ended BOOLEAN, reason VARCHAR, detail VARCHAR"
)
CAPTION_WORDS = (
    "image_id BIGINT, captioner VARCHAR, model VARCHAR, prompt_language VARCHAR, sample INTEGER, prompt VARCHAR, "
    "seed BIGINT, raw VARCHAR, tokens INTEGER, ended BOOLEAN, norm VARCHAR, language VARCHAR, text_id BIGINT, "
    "objects VARCHAR[]"
)
CAPTION_CHECKS = (
    "image_id BIGINT, captioner VARCHAR, model VARCHAR, prompt_language VARCHAR, sample INTEGER, text_id BIGINT, "
    "metric VARCHAR, value DOUBLE, reason VARCHAR, detail VARCHAR"
)
LEDGER = (
    "candidate_id BIGINT, source_row BIGINT, url VARCHAR, outcome VARCHAR, stage VARCHAR, "
    "reason VARCHAR, detail VARCHAR, image_id BIGINT"
)
