"""CLAIM, 2024 update: the 44 items by number, their topics in our words, and which lines of a model card answer them.

An item: (number, section, topic, lines of the card as "field: line", whether those lines answer it whole).
"""

NAME = "CLAIM, 2024 update"
SOURCE = (
    "Tejani et al., Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update, Radiology: "
    "Artificial Intelligence 2024;6(4):e240300, doi:10.1148/ryai.240300. Numbers follow two public copies of the list "
    "that agree on all 44 items (the pages of CLAIM Explanation, Elaboration and Examples, and the audit tables of the "
    "ROADMAP ontology); the article itself was not at hand, so they were not checked against it. Topics are in our "
    "words."
)
ITEMS: tuple[tuple[str, str, str, tuple[str, ...], bool], ...] = (
    ("1", "Title", "Says that the work is about AI, and which kind of technique", ("architecture: network",), False),
    ("2", "Abstract", "Design, methods, results and conclusions in short", (), False),
    ("3", "Introduction", "Background, and the use and role meant for the model", ("use: intended use",), False),
    ("4", "Introduction", "Aims and hypotheses", (), False),
    ("5", "Study design", "Whether data were collected for the study or before it", (), False),
    ("6", "Study design", "What the study is for", (), False),
    ("7", "Data", "Where the data come from", ("data: source",), True),
    ("8", "Data", "Who and what was included, and who was left out", ("data: inclusion and exclusion",), True),
    (
        "9", "Data", "What was done to the images before the model saw them",
        ("preprocessing: spacing", "preprocessing: normalisation", "preprocessing: patch"), True,
    ),
    ("10", "Data", "How parts of the data or of the images were selected", ("split: cases",), False),
    ("11", "Data", "How identities were removed", ("privacy: de-identification",), True),
    ("12", "Data", "What was done about missing data", ("performance: cases without a result",), False),
    ("13", "Data", "How the images were acquired", ("data: image acquisition",), True),
    ("14", "Reference standard", "How the truth was obtained", ("reference: method",), True),
    ("15", "Reference standard", "Why this truth was chosen", ("reference: reason for it",), True),
    ("16", "Reference standard", "Who annotated, and with what training", ("reference: annotators",), True),
    ("17", "Reference standard", "How the test part was annotated", ("reference: annotation of the test part",), True),
    ("18", "Reference standard", "How far annotators differ", ("reference: spread between raters",), True),
    ("19", "Data partitions", "How cases came into the parts", ("split: cases", "split: assigned"), False),
    ("20", "Data partitions", "At which level the parts are apart", ("split: level",), True),
    ("21", "Testing data", "How many cases were meant to be tested, and why", ("split: reason for the number",), True),
    (
        "22", "Model", "The model in detail: input, output, structure",
        ("architecture: network", "architecture: options", "architecture: input", "architecture: output"), True,
    ),
    ("23", "Model", "Software and its versions", ("training: versions",), True),
    ("24", "Model", "What the weights began as", ("training: starting weights",), True),
    (
        "25", "Training", "How it was trained, with augmentation and settings",
        ("training: settings", "training: augmentation", "training: steps", "training: batch"), True,
    ),
    ("26", "Training", "How the final model was chosen", ("training: weights that are kept",), True),
    ("27", "Training", "How several models were combined", ("architecture: ensemble",), True),
    ("28", "Evaluation", "Which measures of performance", ("performance: metrics",), True),
    ("29", "Evaluation", "How significance and uncertainty were measured", ("performance: uncertainty",), True),
    ("30", "Evaluation", "How the model bears changed conditions", ("uncertainty: robustness",), True),
    ("31", "Evaluation", "How its answers are explained", ("uncertainty: explanations",), True),
    ("32", "Evaluation", "Evaluation on data of the same origin", ("performance: internal data",), True),
    ("33", "Evaluation", "Test on data of another origin", ("performance: data of other origin",), False),
    ("34", "Evaluation", "Registration of a clinical trial", (), False),
    ("35", "Results: data", "How many patients and examinations were in and out", ("split: cases",), False),
    ("36", "Results: data", "Who the patients in every part are", ("data: patients in every part",), True),
    ("37", "Results: performance", "Performance with its uncertainty", ("performance: results",), True),
    (
        "38", "Results: performance", "Diagnostic performance with its precision",
        ("performance: diagnostic performance",), True,
    ),
    ("39", "Results: performance", "What the wrong results have in common", ("failures: analysis",), True),
    ("40", "Discussion", "Limits of the study", ("failures: limitations",), True),
    ("41", "Discussion", "What it means for practice", ("use: intended use",), False),
    ("42", "Other", "Where the whole protocol can be read", (), False),
    ("43", "Other", "Whether program, model and data can be had", ("licence: program", "licence: weights"), False),
    ("44", "Other", "Who paid for it, and what part they had", (), False),
)  # fmt: skip
