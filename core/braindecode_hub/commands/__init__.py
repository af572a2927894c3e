"""The built-in commands, by what they are about. Importing these modules imports click and nothing heavy."""
