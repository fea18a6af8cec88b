"""The worker: packs orders as they come."""

from django.core.management.base import BaseCommand

from shop import queue
from shop.models import Order


class Command(BaseCommand):
    help = "Pack orders, until it is told to stop."

    def handle(self, *args, **options):
        for number in Order.objects.filter(packed=None).values_list("pk", flat=True):
            self.pack(number)  # placed while nobody packed, or lost by Redis
        while True:
            number = queue.take(5)
            if number is not None:
                self.pack(number)

    def pack(self, number):
        if Order.pack(number):
            self.stdout.write(f"packed order {number}")
