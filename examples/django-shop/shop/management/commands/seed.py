"""Demo data. Running it again changes nothing."""

from decimal import Decimal

from django.core.management.base import BaseCommand
from django.db import transaction

from shop.models import Category, Product

DEMO = {
    ("Tea", "tea"): [
        ("Assam", "assam", "Strong and malty, for the morning.", "6.50", 40),
        ("Sencha", "sencha", "Green, steamed, a little grassy.", "8.90", 25),
        ("Rooibos", "rooibos", "Red, mild, without caffeine.", "5.20", 0),
    ],
    ("Cups", "cups"): [
        ("Stoneware cup", "stoneware-cup", "Holds 250 ml and the warmth.", "14.00", 12),
        ("Glass with a double wall", "double-wall-glass", "Hot inside, cool outside.", "9.80", 30),
    ],
}


class Command(BaseCommand):
    help = "Fill the shop with demo data."

    @transaction.atomic
    def handle(self, *args, **options):
        made = 0
        for (name, slug), products in DEMO.items():
            category, _ = Category.objects.get_or_create(slug=slug, defaults={"name": name})
            for title, key, text, price, stock in products:
                values = {"name": title, "description": text, "price": Decimal(price), "stock": stock}
                made += Product.objects.get_or_create(slug=key, defaults={"category": category, **values})[1]
        self.stdout.write(f"{made} products made, {Product.objects.count()} in the shop")
