"""Webhooks: which repos each account watches, and the calls that the Hub makes when something happens there."""
