"""Pipelines that draw pictures from prompts, as diffusers has them: a folder of components."""
