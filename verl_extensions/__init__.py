"""The import path that existing configurations name; all logic is in curriculum_learning."""
