"""The values that every driver for Python must bring back unchanged, as a parameter and as a property."""

VALUES = [
    None,
    True,
    False,
    0,
    -17,
    127,
    -129,
    2**31,
    2**63 - 1,
    -(2**63),
    0.0,
    -1.5,
    1e300,
    float("inf"),
    "",
    "žluťoučký 🐎 'quoted' \"and\" \\",
    [],
    [1, "two", 3.0, None, [True]],
    {},
    {"a": 1, "nested": {"list": [1, 2], "none": None}},
]
