"""Demo data. Running it again changes nothing."""

from decimal import Decimal

from django.core.management.base import BaseCommand
from django.db import transaction

from shop.models import Product

DEMO = {"Assam": ("6.50", 400), "Sencha": ("8.90", 250), "Rooibos": ("5.20", 300), "Stoneware cup": ("14.00", 120)}


class Command(BaseCommand):
    help = "Fill the shop with demo data."

    @transaction.atomic
    def handle(self, *args, **options):
        for name, (price, stock) in DEMO.items():
            Product.objects.get_or_create(name=name, defaults={"price": Decimal(price), "stock": stock})
        self.stdout.write(f"{Product.objects.count()} products in the shop")
