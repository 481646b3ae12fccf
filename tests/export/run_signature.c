/* Runs a signature of a SavedModel through TensorFlow's C interface, as a server does: there is no Python in this process.
 *
 *   run_signature MODEL INPUT strings FILE… -- OUTPUT:INDEX…          one row per file
 *   run_signature MODEL INPUT floats FILE RANK SIDE… -- OUTPUT:INDEX…  a file of float32
 *
 * Prints a line per output: its type, its sides after a colon each, and its values; strings in hexadecimal.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

static void fail_unless(int holds, const char* what) {
  if (!holds) {
    fprintf(stderr, "%s\n", what);
    exit(1);
  }
}

static char* read_file(const char* path, size_t* size) {
  FILE* file = fopen(path, "rb");
  fail_unless(file != NULL, path);
  fseek(file, 0, SEEK_END);
  *size = (size_t)ftell(file);
  rewind(file);
  char* data = malloc(*size + 1);
  fail_unless(fread(data, 1, *size, file) == *size, path);
  fclose(file);
  return data;
}

static TF_Tensor* read_strings(int count, char** paths) {
  int64_t sides[] = {count};
  TF_Tensor* tensor = TF_AllocateTensor(TF_STRING, sides, 1, count * sizeof(TF_TString));
  TF_TString* rows = TF_TensorData(tensor);
  for (int i = 0; i < count; ++i) {
    size_t size;
    char* data = read_file(paths[i], &size);
    TF_StringInit(&rows[i]);
    TF_StringCopy(&rows[i], data, size);
    free(data);
  }
  return tensor;
}

static TF_Tensor* read_floats(char** arguments) {
  size_t size;
  char* data = read_file(arguments[0], &size);
  int rank = atoi(arguments[1]);
  int64_t sides[8];
  for (int i = 0; i < rank; ++i) sides[i] = atoll(arguments[2 + i]);
  TF_Tensor* tensor = TF_AllocateTensor(TF_FLOAT, sides, rank, size);
  memcpy(TF_TensorData(tensor), data, size);
  free(data);
  return tensor;
}

static void print_value(TF_Tensor* tensor, int64_t i) {
  const void* data = TF_TensorData(tensor);
  switch (TF_TensorType(tensor)) {
    case TF_FLOAT: printf(" %.9g", ((const float*)data)[i]); break;
    case TF_INT32: printf(" %d", ((const int32_t*)data)[i]); break;
    case TF_INT64: printf(" %lld", (long long)((const int64_t*)data)[i]); break;
    case TF_BOOL: printf(" %d", ((const unsigned char*)data)[i]); break;
    case TF_STRING: {
      const TF_TString* text = (const TF_TString*)data + i;
      const char* bytes = TF_StringGetDataPointer(text);
      printf(" x");
      for (size_t j = 0; j < TF_StringGetSize(text); ++j) printf("%02x", (unsigned char)bytes[j]);
      break;
    }
    default: fail_unless(0, "an output of a type that is not read");
  }
}

static void print_tensor(TF_Tensor* tensor) {
  printf("%d", (int)TF_TensorType(tensor));
  for (int i = 0; i < TF_NumDims(tensor); ++i) printf(":%lld", (long long)TF_Dim(tensor, i));
  for (int64_t i = 0; i < TF_TensorElementCount(tensor); ++i) print_value(tensor, i);
  printf("\n");
}

int main(int count, char** arguments) {
  int separator = 4;
  while (separator < count && strcmp(arguments[separator], "--") != 0) ++separator;
  fail_unless(separator < count, "usage: run_signature MODEL INPUT strings|floats … -- OUTPUT:INDEX…");

  TF_Status* status = TF_NewStatus();
  TF_Graph* graph = TF_NewGraph();
  TF_SessionOptions* options = TF_NewSessionOptions();
  const char* tags[] = {"serve"};
  TF_Session* session = TF_LoadSessionFromSavedModel(options, NULL, arguments[1], tags, 1, graph, NULL, status);
  fail_unless(TF_GetCode(status) == TF_OK, TF_Message(status));

  TF_Output input = {TF_GraphOperationByName(graph, arguments[2]), 0};
  fail_unless(input.oper != NULL, arguments[2]);
  int are_strings = strcmp(arguments[3], "strings") == 0;
  TF_Tensor* value = are_strings ? read_strings(separator - 4, arguments + 4) : read_floats(arguments + 4);

  int num_outputs = count - separator - 1;
  TF_Output* outputs = calloc(num_outputs, sizeof(TF_Output));
  TF_Tensor** answers = calloc(num_outputs, sizeof(TF_Tensor*));
  for (int i = 0; i < num_outputs; ++i) {
    char* name = arguments[separator + 1 + i];
    char* colon = strrchr(name, ':');
    *colon = 0;
    outputs[i].oper = TF_GraphOperationByName(graph, name);
    outputs[i].index = atoi(colon + 1);
    fail_unless(outputs[i].oper != NULL, name);
  }
  TF_SessionRun(session, NULL, &input, &value, 1, outputs, answers, num_outputs, NULL, 0, NULL, status);
  fail_unless(TF_GetCode(status) == TF_OK, TF_Message(status));
  for (int i = 0; i < num_outputs; ++i) print_tensor(answers[i]);
  return 0;
}
