// How cells of each label were predicted, in a view; counts are over all seeds.

const transposed = new Map();

// [type, cells] of the predictions of the cells of a label, the most frequent first.
function predictionsOf(name, label) {
  const row = data.confusions[name].rows[label];
  return Array.from({ length: row.length / 2 }, (_, i) => [row[2 * i], row[2 * i + 1]]);
}

// [type, cells] of the labels of the cells predicted as a type, the most frequent first.
function labelsOf(name, prediction) {
  if (!transposed.has(name)) {
    const columns = types.map(() => []);
    types.forEach((type) => predictionsOf(name, type.index)
      .forEach(([other, cells]) => columns[other].push([type.index, cells])));
    columns.forEach((column) => column.sort((a, b) => b[1] - a[1]));
    transposed.set(name, columns);
  }
  return transposed.get(name)[prediction];
}

const cellsOf = (name, label, prediction) =>
  predictionsOf(name, label).find(([other]) => other === prediction)?.[1] ?? 0;
