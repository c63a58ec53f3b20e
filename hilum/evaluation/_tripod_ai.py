"""TRIPOD+AI: the 27 items (52 with their letters), topics in our words, and the lines of a model card that answer them.

An item: (number, section, topic, lines of the card as "field: line", whether those lines answer it whole).
"""

NAME = "TRIPOD+AI"
SOURCE = (
    "Collins et al., TRIPOD+AI statement, BMJ 2024;385:e078378, doi:10.1136/bmj-2023-078378. Numbers follow public "
    "copies of its Table 2 that agree where they were compared; the article itself was not at hand, so they were not "
    "checked against it. Topics are in our words. The list is made for models that predict an outcome of a person: "
    "whether it suits this model is for its authors to say."
)
ITEMS: tuple[tuple[str, str, str, tuple[str, ...], bool], ...] = (
    ("1", "Title", "Development or evaluation of a prediction model, in whom, of what", (), False),
    ("2", "Abstract", "The list for abstracts", (), False),
    ("3a", "Background", "Health care context and reason, with models that exist", (), False),
    ("3b", "Background", "People it is for, place in care, users", ("use: intended use", "use: users"), True),
    ("3c", "Background", "Known inequalities between groups of people", (), False),
    ("4", "Objectives", "Aims, and whether it is developed, evaluated or both", (), False),
    ("5a", "Data", "Sources of the data, why these, whom they represent", ("data: source",), True),
    ("5b", "Data", "Dates of the data", ("data: dates",), True),
    ("6a", "Participants", "Setting and centres", ("data: setting",), True),
    ("6b", "Participants", "Who could take part", ("data: inclusion and exclusion",), True),
    ("6c", "Participants", "Treatments and how they were handled", (), False),
    (
        "7", "Data preparation", "Preparation and quality checks, alike in all groups of people or not",
        ("preprocessing: spacing", "preprocessing: normalisation"), False,
    ),
    ("8a", "Outcome", "What is predicted, when and how it was assessed", ("architecture: output",), False),
    ("8b", "Outcome", "Who assessed the outcome", ("reference: annotators",), True),
    ("8c", "Outcome", "Whether the assessment was blind", (), False),
    ("9a", "Predictors", "How the predictors were chosen", (), False),
    ("9b", "Predictors", "What the predictors are and how they were measured", ("architecture: input",), False),
    ("9c", "Predictors", "Who assessed the predictors", (), False),
    ("10", "Sample size", "Why so many, and whether that is enough", ("split: reason for the number",), True),
    ("11", "Missing data", "What was done about missing data", ("performance: cases without a result",), False),
    ("12a", "Analysis", "How data were used and divided", ("split: cases", "split: level"), True),
    ("12b", "Analysis", "How predictors were scaled and changed", ("preprocessing: normalisation",), True),
    (
        "12c", "Analysis", "Kind of model and why, how it was built, tuned and checked inside the data",
        ("architecture: network", "training: settings", "training: weights that are kept"), False,
    ),
    ("12d", "Analysis", "How differences between clusters were handled", (), False),
    ("12e", "Analysis", "Measures and plots, and why these", ("performance: metrics",), False),
    ("12f", "Analysis", "Updating of the model after evaluation", (), False),
    ("12g", "Analysis", "How predictions were computed", ("version: how to predict",), True),
    ("13", "Class imbalance", "What was done about rare classes, and why", ("training: rare classes",), False),
    ("14", "Fairness", "What was done for fairness, and why", (), False),
    ("15", "Model output", "The output, and its thresholds", ("architecture: output", "operation: threshold"), True),
    ("16", "Training and evaluation", "How data for development and evaluation differ", (), False),
    ("17", "Ethics", "Approval and consent", ("privacy: ethics approval",), True),
    ("18a", "Open science", "Funding", (), False),
    ("18b", "Open science", "Conflicts of interest", (), False),
    ("18c", "Open science", "Protocol", (), False),
    ("18d", "Open science", "Registration", (), False),
    ("18e", "Open science", "Availability of the data", ("licence: data",), False),
    ("18f", "Open science", "Availability of the code", ("licence: program",), False),
    ("19", "Patients and public", "How patients and the public had a part", (), False),
    ("20a", "Results: participants", "How people passed through the study", ("split: cases",), False),
    ("20b", "Results: participants", "Who the people are", ("data: patients in every part",), True),
    ("20c", "Results: participants", "How development and evaluation data are distributed", (), False),
    (
        "21", "Results: development", "People and outcomes by analysis",
        ("split: patients", "split: cases of every class"), True,
    ),
    (
        "22", "Results: specification", "The whole model for use by others, and restrictions",
        ("version: weights", "version: how to predict", "licence: weights"), True,
    ),
    (
        "23a", "Results: performance", "Performance with intervals, also in groups of people",
        ("performance: results", "performance: sites and groups of people"), True,
    ),
    ("23b", "Results: performance", "Differences between clusters", ("performance: sites and groups of people",), True),
    ("24", "Results: updating", "Results of updating", (), False),
    ("25", "Discussion", "What the results mean, with fairness", (), False),
    ("26", "Discussion", "Limits and what follows from them", ("failures: limitations",), True),
    ("27a", "Usability", "What to do with poor or missing input", ("uncertainty: poor input",), True),
    ("27b", "Usability", "What users must do and know", ("use: users",), True),
    ("27c", "Usability", "Next steps for research", (), False),
)  # fmt: skip
