"""The page of orders."""

from django.http import JsonResponse
from django.views.decorators.http import require_GET

from orders.models import Order


@require_GET
def orders(request):
    """List what the agent has written."""
    return JsonResponse({"orders": list(Order.objects.values("number", "item", "amount"))})
