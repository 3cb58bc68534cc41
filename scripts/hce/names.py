"""What figures, captions and pages call models, losses, sets and decoders."""

NAMES = {
    "ce": "CE",
    "hce": "HCE",
    "hce_log": "HCE (log)",
    "hce_study": "HCE (study)",
    "mix_study": "CE + HCE (study)",
    "linear": "Linear",
    "mlp": "MLP",
    "tabnet": "TabNet",
    "reference": "reference",
    "train": "training",
    "val": "validation",
    "id": "ID test",
    "ood": "OOD",
    "argmax": "argmax",
    "ancestor_sum": "ancestor sum",
    "vocabulary_sum": "vocabulary sum",
    "hierarchical_f1": "hierarchical F1",
    "prior_corrected": "prior-corrected",
}


def name(key: str) -> str:
    """The display name of a model, loss, set or decoder; by default the key itself."""
    if key.startswith("back_off_"):  # a decoder with its threshold
        return key.replace("back_off_", "back-off ")
    if key.endswith("_clean"):  # a set without its leaky cells
        return f"{name(key.removesuffix('_clean'))} without leaky cells"
    return NAMES.get(key, key)
