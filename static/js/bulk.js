// The list's ticks and the bar that acts on them. A live refresh brings rows anew; what is ticked, and up to which job
// "all that match" reaches, stays as the person saw it until the selection is cleared.
import { show } from "./figures.js";

const plural = new Intl.PluralRules(document.documentElement.lang || "it");

export function bulk() {
  // By uuid, what can be done with each: a ticked job may leave the page with a refresh.
  const chosen = new Map();
  let last = null;
  let told = "";

  return {
    n: 0,
    away: 0,
    all: false,
    total: "",
    exact: false,
    more: false,
    counts: {},

    init() {
      this.all = this.$refs.scope.defaultChecked; // a selection that a sign-in came between
      this.renewed();
      window.addEventListener("live:tick", () => this.renewed());
      // A page from the back button may have ticks of its own.
      window.addEventListener("pageshow", () => this.ticked());
    },
    bar() {
      return this.$root.querySelector(".bulk");
    },
    boxes() {
      return [...this.$root.querySelectorAll("input[name=uuid][type=checkbox]")];
    },

    // After a refresh: the new rows, and the new figures unless something is ticked.
    renewed() {
      const rows = this.$root.querySelector(".rows");
      document.getElementById("count-sentence").textContent = rows.dataset.sentence;
      for (const box of this.boxes()) if (chosen.has(box.value)) box.checked = true;
      this.ticked();
    },
    ticked(event) {
      if (event && event.target.dataset.page !== undefined) for (const box of this.boxes()) box.checked = event.target.checked;
      if (event && this.all && !event.target.checked) this.all = false;
      const here = this.boxes();
      for (const box of here) {
        if (box.checked) chosen.set(box.value, box.dataset.can.split(" "));
        else chosen.delete(box.value);
      }
      this.tell(here);
    },
    tell(here) {
      const onPage = new Set(here.map((box) => box.value));
      const away = [...chosen.keys()].filter((uuid) => !onPage.has(uuid));
      this.$refs.gone.replaceChildren(...away.map((uuid) => Object.assign(document.createElement("input"), { type: "hidden", name: "uuid", value: uuid })));
      this.n = chosen.size;
      this.away = away.length;
      this.counts = {};
      for (const words of chosen.values()) for (const word of words) if (word) this.counts[word] = (this.counts[word] || 0) + 1;
      this.$refs.scope.checked = this.all;
      const head = this.$root.querySelector("[data-page]");
      if (head) {
        head.checked = this.n > 0 && here.every((box) => box.checked);
        head.indeterminate = !head.checked && here.some((box) => box.checked);
      }
      if (!this.n) {
        const { top, total, exact, more } = this.$root.querySelector(".rows").dataset;
        this.$root.querySelector("[name=top]").value = top;
        this.total = total;
        this.exact = exact !== undefined;
        this.more = more === "yes";
      }
      if (told !== this.said) document.getElementById("announce").textContent = this.said || this.bar().dataset.none;
      told = this.said;
    },

    get shown() {
      return this.n ? "on" : "";
    },
    get offersAll() {
      return this.more && !this.all;
    },
    get said() {
      if (!this.n) return "";
      const { dataset } = this.bar();
      if (this.all) return (this.exact ? dataset.allSaid : dataset.allSaidOpen).replace("{total}", this.total);
      return this.words(dataset, "said", this.n);
    },
    get gone() {
      return this.away && !this.all ? `, ${this.words(this.bar().dataset, "gone", this.away)}` : "";
    },
    get allLink() {
      const { dataset } = this.bar();
      return (this.exact ? dataset.allLink : dataset.allLinkOpen).replace("{total}", this.total);
    },
    words(dataset, name, n) {
      const text = dataset[`${name}One`] && plural.select(n) === "one" ? dataset[`${name}One`] : dataset[`${name}Other`];
      return text.replace("{n}", show(n)).replace("{total}", this.total);
    },
    can(action) {
      if (!this.all) return this.counts[action] > 0;
      const { kinds } = this.bar().dataset; // of the filter's states: "live", "ended", or both
      return kinds.includes({ retry: "ended", delete: "ended", restore: "ended", erase: "ended" }[action] || "live");
    },

    chooseAll() {
      this.all = true;
      for (const box of this.boxes()) box.checked = true;
      this.ticked();
      // Its link goes: the next control takes the focus, once all are enabled.
      this.$nextTick(() => this.bar().querySelector("button[type=submit]").focus());
    },
    clear() {
      const within = this.bar().contains(document.activeElement);
      this.all = false;
      chosen.clear();
      for (const box of this.boxes()) box.checked = false;
      this.ticked();
      if (within) this.boxes()[0]?.focus();
    },
    escape(event) {
      if (!this.n || event.defaultPrevented || event.target.closest("input[type=search], select, dialog") || document.querySelector("dialog[open], :popover-open")) return;
      this.clear();
    },
    // Enter on a tick would press the first button of the form.
    key(event) {
      if (event.key === "Enter" && event.target.type === "checkbox") event.preventDefault();
    },
    // With Shift, everything between the last tick and this one.
    range(event) {
      const box = event.target;
      if (box.name !== "uuid") return;
      const here = this.boxes();
      const [from, to] = [here.indexOf(last), here.indexOf(box)].sort((a, b) => a - b);
      if (event.shiftKey && from >= 0) for (const between of here.slice(from, to + 1)) between.checked = box.checked;
      last = box;
    },

    // Says what the dialog of confirm.js asks. "All that match" is left to the server, which counts exactly.
    prepare(event) {
      const form = event.target;
      const { dataset, value } = event.submitter;
      const n = this.counts[value];
      delete form.dataset.confirmTitle;
      if (this.all || !dataset.titleOne) return; // the server asks, and says what cannot be changed
      if (n === 1 && value === "retry") {
        // One retry needs no question.
        const { ask } = form.elements;
        ask.disabled = true;
        setTimeout(() => (ask.disabled = false), 0);
        return;
      }
      const left = this.n - n;
      form.dataset.confirmTitle = this.words(dataset, "title", n);
      form.dataset.confirmText = left ? `${dataset.text} ${this.words(this.bar().dataset, "left", left)}` : dataset.text;
      form.dataset.confirmAction = dataset.yes.replace("{n}", show(n));
      if (dataset.no) form.dataset.confirmNo = dataset.no;
      else delete form.dataset.confirmNo;
      form.toggleAttribute("data-confirm-danger", dataset.danger !== undefined);
    },
  };
}
