"""What the simulated atlas is made of: tissues, diseases, assays, and what curation removes."""

# General name, its term, names and terms of its parts, and the terms above its own types. Types of
# no tissue (blood cells, vessels, muscle…) occur in all tissues.
TISSUES = {
    "blood": ("UBERON:0000178", {"blood": "UBERON:0000178"}, ()),
    "brain": (
        "UBERON:0000955",
        {"cerebral cortex": "UBERON:0000956", "cerebellum": "UBERON:0002037"},
        ("CL:0002319", "CL:0000878", "CL:0000129"),
    ),
    "lung": (
        "UBERON:0002048",
        {"lung parenchyma": "UBERON:0008946", "bronchus": "UBERON:0002185"},
        (
            *("CL:0002368", "CL:0000322", "CL:0002632", "CL:0002553", "CL:0009089", "CL:1001568"),
            *("CL:0019019", "CL:0000583", "CL:1001603", "CL:4028004", "CL:4028006"),
        ),
    ),
    "kidney": (
        "UBERON:0002113",
        {"cortex of kidney": "UBERON:0001225", "renal medulla": "UBERON:0000362"},
        ("CL:1000497",),
    ),
    "bone marrow": ("UBERON:0002371", {"bone marrow": "UBERON:0002371"}, ()),
    "small intestine": (
        "UBERON:0002108",
        {"ileum": "UBERON:0002116", "duodenum": "UBERON:0002114"},
        ("CL:0002563", "CL:0002251", "CL:0002504", "CL:0000160"),
    ),
    "heart": (
        "UBERON:0000948",
        {"heart left ventricle": "UBERON:0002084"},
        ("CL:0002494", "CL:0010022", "CL:0002548"),
    ),
    "eye": ("UBERON:0000970", {"retina": "UBERON:0000966"}, ("CL:0009004", "CL:0000287")),
    "breast": (
        "UBERON:0000310",
        {"breast": "UBERON:0000310"},
        ("CL:0002327", "CL:0002324", "CL:0000646", "CL:0000312"),
    ),
    "reproductive system": (
        "UBERON:0000990",
        {"ovary": "UBERON:0000992", "fallopian tube": "UBERON:0003889"},
        ("CL:0000501", "CL:4030006"),
    ),
    "prostate gland": ("UBERON:0002367", {"prostate gland": "UBERON:0002367"}, ()),
}
LEAK = "simulated-copy-1"
BLOOD_LIKE = ("blood", "bone marrow")
HEMATOPOIETIC = "CL:0000988"
REFERENCE_TISSUES = tuple(tissue for tissue in TISSUES if tissue != "prostate gland")
NEW_TISSUES = (
    *("brain", "prostate gland", "blood", "lung"),
    *("kidney", "small intestine", "breast", "brain"),
)
DISEASES = {
    "normal": "PATO:0000461",
    "COVID-19": "MONDO:0100096",
    "Crohn disease": "MONDO:0005011",
    "diabetic kidney disease": "MONDO:0005016",
    "Alzheimer disease": "MONDO:0004975",
}
# Studies take turns; the last disease occurs only in new studies.
REFERENCE_DISEASES = (
    *("normal", "normal", "COVID-19", "normal"),
    *("normal", "Crohn disease", "normal", "diabetic kidney disease"),
)
NEW_DISEASES = ("Alzheimer disease", "normal", "COVID-19", "normal")
REFERENCE_ASSAYS = {"10x 3' v2": 0.4, "10x 3' v3": 0.35, "10x 5' v1": 0.2, "10x 3' v1": 0.05}
NEW_ASSAYS = {
    "10x 5' v2": 0.4,
    "10x 3' v3": 0.3,
    "10x 3' transcription profiling": 0.15,
    "10x 5' transcription profiling": 0.15,
}
# What curation must remove: types too high in the ontology, with too few cells, or with cells of
# too few donors.
TOO_HIGH = {"native cell": 150, "epithelial cell": 150, "hematopoietic cell": 150}
TOO_FEW_CELLS = {"thymocyte": 20, "interneuron": 20}
TOO_FEW_DONORS = {"myelinating glial cell": 60}
# Labels of a new study that are not types: one is too high, of the others only it has cells.
OPEN = {"hematopoietic cell": 60, "muscle cell": 60, "myeloid leukocyte": 60}
