"""The app beside what a Django site would write by itself: `make benchmark`.

A Django app too, with the minimal site that the app is compared to.
"""
