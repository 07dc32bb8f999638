"""What is known of orders."""

from django.db import models


class Order(models.Model):
    """An order that was placed; its number is given by whoever places it."""

    number = models.CharField(max_length=40, primary_key=True)
    item = models.CharField(max_length=200)
    amount = models.PositiveIntegerField()

    class Meta:
        """By number."""

        ordering = ("number",)

    def __str__(self):
        """Say what was ordered."""
        return f"{self.number}: {self.amount} {self.item}"
