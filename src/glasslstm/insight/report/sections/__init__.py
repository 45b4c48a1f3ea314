"""The seven questions that the page answers, a file for each: every one makes HTML of a look at a model."""
