"""The pages of the project."""

from django.urls import path

from orders.views import orders

urlpatterns = [path("orders/", orders)]
