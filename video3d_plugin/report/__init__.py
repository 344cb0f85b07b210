"""`video3d report RESULTS_DIR`: results of lmms-eval beside published numbers, as a table and as an HTML page.

`results` reads the folder, `published` collects the published numbers, `table` prints, `overview` selects the headline
numbers, `compare` compares two runs, `worst` selects examples, and `page`, `style` and `draw` write the HTML.
"""
