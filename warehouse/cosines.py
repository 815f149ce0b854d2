"""Where vectors of pictures and texts are found: in the parts of a run, else in the warehouse."""

from __future__ import annotations

from warehouse.lake import quoted


def vectors_of(subject: str, run: str) -> str:
    """SQL for subject_id, model and vector of each `picture` or `text`: the view `run`, and what it lacks."""
    return f"""
        SELECT subject_id, model, min(vector) AS vector FROM {run} GROUP BY ALL
        UNION ALL BY NAME
        SELECT subject_id, model, vector FROM lake.embeddings e WHERE subject = {quoted(subject)}
          AND NOT EXISTS (FROM {run} r WHERE r.subject_id = e.subject_id AND r.model = e.model)"""
